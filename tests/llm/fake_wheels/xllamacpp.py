"""A stand-in for the llama.cpp wheel: an HTTP server that behaves as the model is named.

The name of the model's file says how: ``dies``, ``refuses``, ``hangs``, ``sick``, ``deaf``,
``loud``; under any other name all is well.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

ANSWER = b"""\
data: {"choices": [{"delta": {"content": "I am fake."}, "finish_reason": "stop"}]}

data: [DONE]

"""


class CommonParams(SimpleNamespace):
    def __init__(self) -> None:
        super().__init__(
            model=SimpleNamespace(),
            cpuparams=SimpleNamespace(),
            cpuparams_batch=SimpleNamespace(),
        )


def _told(params: CommonParams) -> str:
    """Return all that the server was told, as JSON."""
    return json.dumps(vars(params), default=vars)


def _say_who_hangs(waiting: Path) -> None:
    """Write the process's number to the pipe where a test may wait for it."""
    if waiting.exists():
        waiting.write_text(str(os.getpid()), encoding="utf-8")


class Server:
    def __init__(self, params: CommonParams) -> None:
        behaviour = Path(params.model.path).stem
        if behaviour == "dies":
            sys.stderr.write("out of memory\n")
            sys.stderr.flush()
            os._exit(7)
        if behaviour == "refuses":
            raise RuntimeError("please check the input params")
        if behaviour == "hangs":
            _say_who_hangs(Path(params.model.path).with_name("process"))
            time.sleep(60)
        if behaviour == "loud":
            sys.stdout.write('{"not": "an answer"}\n')
            sys.stderr.write("noise\n" * 100_000)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = _told(params).encode()
                self.send_response(503 if behaviour == "sick" else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                key = self.headers["authorization"]
                told = f"Bearer {params.api_keys[0]}"
                self.send_response(200 if key == told else 401)
                self.end_headers()
                self.wfile.write(ANSWER)

        httpd = ThreadingHTTPServer((params.hostnames[0], params.port), Handler)
        port = httpd.server_address[1]
        if behaviour == "deaf":
            httpd.server_close()
        else:
            threading.Thread(target=httpd.serve_forever, daemon=True).start()
        self.listening_address = f"http://127.0.0.1:{port}"

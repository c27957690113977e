"""A server that speaks Chat Completions, for programs that run as a process of their own.

It answers with whatever fits the schema asked for. A text decides how it is treated:
``poison`` gets an error, ``endless`` no answer at all, and what is too long is refused.
"""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

KEY = "secret"
CONTEXT = 3000
"""Characters of a prompt that find room."""

ANSWERS = {
    "Analysis": {"tone": "solemn", "topic": "the sea"},
    "Summary": {"summary": "A man goes to sea."},
}


class FakeOpenAI(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.closing = threading.Event()

    @property
    def base_url(self) -> str:
        """URL for its clients."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = cast("FakeOpenAI", self.server)
        length = int(self.headers["content-length"])
        request = json.loads(self.rfile.read(length))
        prompt = request["messages"][-1]["content"]
        if self.headers["authorization"] != f"Bearer {KEY}":
            self.fail(401, "Incorrect API key provided", "invalid_api_key")
        elif "poison" in prompt:
            self.fail(400, "I do not read this", "invalid_request_error")
        elif len(prompt) > CONTEXT:
            message = "This model's maximum context length is exceeded"
            self.fail(400, message, "context_length_exceeded")
        else:
            if "endless" in prompt:
                server.closing.wait()
            self.answer(ANSWERS[request["response_format"]["json_schema"]["name"]])

    def fail(self, status: int, message: str, code: str) -> None:
        """Refuse the request."""
        self.send_response(status)
        self.end_headers()
        error = {"message": message, "code": code, "type": "invalid_request_error"}
        self.wfile.write(json.dumps({"error": error}).encode())

    def answer(self, value: dict[str, str]) -> None:
        """Stream an object."""
        said: dict[str, Any] = {"delta": {"content": json.dumps(value)}}
        ended: dict[str, Any] = {"delta": {}, "finish_reason": "stop"}
        self.send_response(200)
        self.end_headers()
        for choice in (said, ended):
            data = json.dumps({"choices": [{"index": 0, **choice}]})
            self.wfile.write(f"data: {data}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Keep quiet."""


@contextmanager
def open_fake_openai() -> Generator[FakeOpenAI]:
    """Run the server in a thread."""
    with FakeOpenAI() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()

"""A server that speaks Chat Completions, for programs that run as a process of their own.

It answers with whatever fits the schema asked for. A text decides how it is treated:
``poison`` gets an error, ``endless`` no answer at all, and what is too long is refused.
Without a schema it repeats what was said; ``babble`` gets a beginning without an end,
``add`` a call of the tool of that name, and ``think`` thoughts before the answer.
"""

import json
import sys
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
        self.requests: list[dict[str, Any]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have left: they were cancelled."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def options(self) -> tuple[str, ...]:
        """The options that lead a command to it."""
        return ("--base-url", self.base_url, "--api-key", KEY)

    @property
    def chat(self) -> tuple[str, ...]:
        """The arguments of `agentflow chat` that lead to it."""
        return ("compatible:fake", *self.options)

    @property
    def base_url(self) -> str:
        """URL for its clients."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = cast("FakeOpenAI", self.server)
        length = int(self.headers["content-length"])
        request = json.loads(self.rfile.read(length))
        server.requests.append(request)
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
            self.answer(request, prompt)

    def fail(self, status: int, message: str, code: str) -> None:
        """Refuse the request."""
        self.send_response(status)
        self.end_headers()
        error = {"message": message, "code": code, "type": "invalid_request_error"}
        self.wfile.write(json.dumps({"error": error}).encode())

    def answer(self, request: dict[str, Any], prompt: str) -> None:
        """Stream what fits the request."""
        self.send_response(200)
        self.end_headers()
        wanted = request.get("response_format")
        if wanted is not None:
            value = ANSWERS[wanted["json_schema"]["name"]]
            if "endurance" in prompt and "summary" in value:
                value = {"summary": "A man goes to sea and has no ro"}
            self.say({"content": json.dumps(value)})
        elif request["messages"][-1]["role"] == "tool":
            self.say({"content": f"It is {prompt}."})
        elif "add" in prompt and request.get("tools"):
            function = {"name": "add", "arguments": '{"a": 1, "b": 2}'}
            self.say({"tool_calls": [{"index": 0, "id": "1", "function": function}]})
            self.end("tool_calls")
            return
        else:
            if "think" in prompt:
                self.say({"reasoning_content": "Hmm."})
            for word in ("You", " said ", prompt):
                self.say({"content": word})
            if "babble" in prompt:
                cast("FakeOpenAI", self.server).closing.wait()
        self.end("stop")

    def end(self, reason: str) -> None:
        """End the stream, and say what it cost."""
        self.say({}, reason)
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        self.send({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def say(self, delta: dict[str, Any], reason: str | None = None) -> None:
        """Stream a piece."""
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        self.send({"choices": [choice]})

    def send(self, chunk: dict[str, Any]) -> None:
        """Send an event."""
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()

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

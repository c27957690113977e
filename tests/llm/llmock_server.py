"""A running llmock: a server by others that fails as it is told and grades its client."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import attrs

_LIMIT = 10.0  # seconds it may take to answer a question about itself

_PROGRAM = """
import sys
from llmock.testing import LLMockServer

with LLMockServer() as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


@attrs.frozen
class Faults:
    """The server's controls.

    Attributes:
        url: Where it listens, without a path.
    """

    url: str

    def add(self, behaviour: str, **settings: Any) -> None:
        """Queue a fault for requests to come; for the next one if nothing else is said."""
        settings["type"] = behaviour
        self._ask("POST", "scenario", {"behaviors": [settings]})

    def reset(self) -> None:
        """Forget requests and faults."""
        self._ask("POST", "reset")

    def findings(self) -> list[str]:
        """Say what it holds against its client; a finding each, with the reason."""
        verdict = self._ask("GET", "verdict")
        return [f"{found['code']}: {found['title']}" for found in verdict["findings"]]

    def requests(self) -> list[dict[str, Any]]:
        """Return its notes on each request, the first one first."""
        notes: list[dict[str, Any]] = self._ask("GET", "requests")["requests"]
        return notes

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        """Use its control API."""
        place = urlsplit(self.url).netloc
        with closing(HTTPConnection(place, timeout=_LIMIT)) as server:
            server.request(method, f"/_llmock/{path}", json.dumps(body))
            response = server.getresponse()
            said = response.read()
            assert response.status < HTTPStatus.BAD_REQUEST, said
            return json.loads(said)


@contextmanager
def open_llmock() -> Generator[Faults]:
    """Run the server in a process of its own; it ends with the block, or with us."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, "llmock did not start"
            yield Faults(url)
        finally:
            process.kill()  # its own goodbye takes seconds if a request still stalls

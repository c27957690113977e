"""What the tests of the embedded model share: stand-ins for wheels and for a model file."""

import importlib
import json
import os
import select
import struct
import sys
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

FAKE_WHEELS = Path(__file__).parent / "fake_wheels"
LIMIT = 10.0  # seconds a process may take to end before a test says that it does not


def gguf_header(version: int = 3, tensors: int = 1) -> bytes:
    """Return the beginning of a GGUF file."""
    return struct.pack("<4sIQQ", b"GGUF", version, tensors, 0)


def model_file(folder: Path, behaviour: str = "well") -> Path:
    """Write a file that passes for a model; its name tells the fake how to behave."""
    path = folder / f"{behaviour}.gguf"
    path.write_bytes(gguf_header())
    return path


def use_fake_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the fakes before the installed wheels, here and in child processes."""
    monkeypatch.setattr(sys, "path", [str(FAKE_WHEELS), *sys.path])
    importlib.invalidate_caches()
    paths = [str(FAKE_WHEELS), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


def ask_server(address: str, path: str = "/", key: str = "") -> Any:
    """Get something from a server on this machine, past every proxy."""
    with closing(HTTPConnection(urlsplit(address).netloc, timeout=LIMIT)) as server:
        server.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        response = server.getresponse()
        assert response.status == HTTPStatus.OK, response.read()
        return json.loads(response.read())


def is_gone(process_id: int) -> bool:
    """Wait for a process that ends, and say whether it did."""
    if sys.platform != "linux":
        pytest.skip("watches a process by its file descriptor, which Linux has")
    try:
        process = os.pidfd_open(process_id)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], LIMIT)[0])
    finally:
        os.close(process)

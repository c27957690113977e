"""Fixtures of the LLM tests."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest


def _run_at_once(
    loop: asyncio.BaseEventLoop, _: object, function: Callable[..., Any], *args: Any
) -> asyncio.Future[Any]:
    future = loop.create_future()
    try:
        future.set_result(function(*args))
    except OSError as error:
        future.set_exception(error)
    return future


@pytest.fixture(autouse=True)
def _names_are_looked_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep asyncio's own threads out, during which virtual time would run away."""
    monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", _run_at_once)

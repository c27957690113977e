"""Sends flows to a real Arize Phoenix and compares the trees it has with the tracer's.

``python -m tests.tracing.phoenix`` starts the server that is installed, on ports of its
own and in a folder that it removes, and prints what it has found. `nox -s phoenix` installs
it first.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import trio
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from agentflow import AsyncAggregatorAgent, AsyncDispatcher, Event, FlowFailed, Router
from agentflow._records import EventAccepted, HandlerStarted
from agentflow.abc import Observer
from agentflow.tracing import Tracer
from agentflow.tracing.otel import OpenTelemetryObserver
from tests.tracing.otlp import Span, forest_in, forest_of

STARTS_WITHIN = 120.0
"""Seconds; it migrates a database first."""


class Text(Event):
    text: str


class Analysis(Event):
    pass


class Summary(Event):
    pass


class Combined(Event):
    pass


class Combiner(AsyncAggregatorAgent):
    event_types_needed = (Text, Analysis, Summary)

    async def process_events(self, events: list[Event]) -> Event:
        return Combined(source="combiner")


def analysis() -> Router:
    """Return the text analysis, an agent of which fails on one text."""
    combiner = Combiner()
    router = Router({Text: [combiner], Analysis: [combiner], Summary: [combiner]})

    @router.on(Text)
    async def analyse(event: Text) -> Analysis:
        await anyio.sleep(0.01)
        if event.text == "bad":
            raise ValueError("cannot be analysed")
        return Analysis(source="analyse")

    @router.on(Text)
    async def summarise(event: Text) -> Summary:
        await anyio.sleep(0.02)
        return Summary(source="summarise")

    return router


async def run_flows(url: str) -> Tracer:
    """Run flows whose spans go to a server; return what the tracer has of them."""
    tracer, provider = Tracer(), TracerProvider()
    exporter = OTLPSpanExporter(f"{url}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    telemetry = OpenTelemetryObserver(tracer_provider=provider)
    observers: list[Observer] = [tracer, telemetry]
    with suppress(FlowFailed):  # of the text that cannot be analysed
        async with AsyncDispatcher(analysis(), tracer=observers) as dispatcher:
            for text in ("good", "bad", "good"):
                dispatcher.dispatch(Text(source="main", text=text))
    assert provider.force_flush(), "the exporter did not get rid of its spans"
    provider.shutdown()
    return tracer


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running_server(folder: str) -> Generator[str]:
    """Run the server and yield its URL."""
    port = free_port()
    settings = {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_WORKING_DIR": folder,
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    program = shutil.which("phoenix") or "phoenix"
    with (
        Path(folder, "log").open("wb") as log,
        subprocess.Popen(
            [program, "serve"], env=os.environ | settings, stdout=log, stderr=log
        ) as server,
    ):
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until_healthy(url, server)
            yield url
        finally:
            server.terminate()


def wait_until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers."""
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        assert server.poll() is None, f"the server ended with {server.returncode}"
        try:
            if httpx.get(f"{url}/healthz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise TimeoutError(f"the server was not up after {STARTS_WITHIN} s")


def spans_in(url: str, at_least: int) -> list[Span]:
    """Return the spans the server has, as soon as it has stored them all."""
    until = time.monotonic() + 30
    while True:
        answer = httpx.get(f"{url}/v1/projects/default/spans", params={"limit": 1000})
        found: list[Any] = answer.json().get("data", []) if answer.is_success else []
        if len(found) >= at_least or time.monotonic() > until:
            return [_span_of(span) for span in found]
        time.sleep(0.2)


def _span_of(shown: dict[str, Any]) -> Span:
    return Span(
        name=shown["name"],
        id=bytes.fromhex(shown["context"]["span_id"]),
        parent=bytes.fromhex(shown["parent_id"] or ""),
        trace=bytes.fromhex(shown["context"]["trace_id"]),
        status={"UNSET": 0, "OK": 1, "ERROR": 2}[shown["status_code"]],
        status_message=shown["status_message"],
        attributes=shown["attributes"],
        links=[],
    )


def main() -> int:
    """Run it; return 0 if the trees are the same."""
    with (
        tempfile.TemporaryDirectory(prefix="agentflow-phoenix-") as folder,
        running_server(folder) as url,
    ):
        tracer = trio.run(run_flows, url)
        flows = list(tracer.flows())
        trees = {flow: forest_in(tracer.tree(flow)) for flow in flows}
        unrouted = [r for r in tracer.records(EventAccepted) if not r.agents]
        due = len(flows) + len(tracer.records(HandlerStarted)) + len(unrouted)
        spans = spans_in(url, due)
        same = [forest_of(spans, flow) == tree for flow, tree in trees.items()]
    print(f"{len(spans)} spans of {len(flows)} flows; same trees: {same}")  # noqa: T201 -- a command
    return 0 if len(same) == len(flows) > 0 and all(same) else 1


if __name__ == "__main__":
    sys.exit(main())

"""A real OTLP receiver, and the trees that its spans add up to."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from agentflow._lenient import type_name
from agentflow._records import DeliveryDropped, HandlerFailed, HandlerFinished
from agentflow.tracing import CausalTree, Node

Tree = tuple[Any, ...]
"""An event's type, how each of its agents ended, and the trees below it."""


@attrs.frozen(kw_only=True)
class Span:
    """A span as it came over the wire.

    Attributes:
        status: 0 for unset, 1 for ok, 2 for an error.
    """

    name: str
    id: bytes
    parent: bytes
    trace: bytes
    status: int
    status_message: str
    attributes: dict[str, Any]
    links: list[bytes]


class Receiver:
    """What an OTLP receiver got.

    Attributes:
        spans: In the order in which they ended.
        metrics: The names of the metrics.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.metrics: set[str] = set()
        self.url: str = ""

    def take(self, path: str, body: bytes) -> None:
        """Take a request of an exporter."""
        if path.endswith("/metrics"):
            metrics = ExportMetricsServiceRequest.FromString(body)
            self.metrics |= {
                metric.name
                for resource in metrics.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
            }
            return
        traces = ExportTraceServiceRequest.FromString(body)
        for resource in traces.resource_spans:
            for scope in resource.scope_spans:
                assert scope.scope.name == "agentflow"
                self.spans += map(_span_of, scope.spans)

    def named(self, name: str) -> Span:
        """Return the only span of a name."""
        (span,) = (span for span in self.spans if span.name == name)
        return span


def _span_of(message: Any) -> Span:
    def value_of(value: Any) -> Any:
        if value.HasField("array_value"):
            return [value_of(item) for item in value.array_value.values]
        return getattr(value, value.WhichOneof("value"))

    return Span(
        name=message.name,
        id=message.span_id,
        parent=message.parent_span_id,
        trace=message.trace_id,
        status=message.status.code,
        status_message=message.status.message,
        attributes={a.key: value_of(a.value) for a in message.attributes},
        links=[link.span_id for link in message.links],
    )


@contextmanager
def running_receiver() -> Generator[Receiver]:
    """Run a receiver of OTLP over HTTP."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- likewise
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def forest_of(spans: list[Span], correlation_id: str) -> list[Tree]:
    """Rebuild the trees of a flow from its spans alone, by ids of parents."""
    by_id = {span.id: span for span in spans}
    (flow,) = (
        span
        for span in spans
        if span.attributes.get("agentflow.flow.id") == correlation_id
    )
    below: dict[bytes, list[Span]] = {}
    for span in spans:
        above = by_id.get(span.parent)
        while above is not None and not _is_event(above) and above is not flow:
            above = by_id.get(above.parent)
        if _is_event(span) and above is not None:
            below.setdefault(above.id, []).append(span)

    def trees(parents: list[bytes]) -> list[Tree]:
        events: dict[str, list[Span]] = {}
        for parent in parents:
            for span in below.get(parent, ()):
                events.setdefault(span.attributes["agentflow.event.id"], []).append(
                    span
                )
        return [
            (
                same[0].attributes["agentflow.event.type"],
                sorted(_end_of(span) for span in same if _end_of(span)),
                trees([span.id for span in same]),
            )
            for _, same in sorted(events.items())
        ]

    return trees([flow.id])


def _is_event(span: Span) -> bool:
    return "agentflow.event.id" in span.attributes


def _end_of(span: Span) -> str:
    outcome = span.attributes.get("agentflow.outcome", "")
    agent = span.attributes.get("gen_ai.agent.name", "")
    return f"{agent} {outcome}" if outcome else ""


def forest_in(tree: CausalTree) -> list[Tree]:
    """Return the trees of a flow as the tracer has them, in the same form."""
    return [_tree_of(root) for root in sorted(tree.roots, key=_id_of)]


def _id_of(node: Node) -> str:
    return node.event.id or ""


def _tree_of(node: Node) -> Tree:
    ends: list[str] = []
    for record in node.handled:
        if isinstance(record, HandlerFinished):
            ends.append(f"{record.agent} finished")
        elif isinstance(record, HandlerFailed):
            ends.append(f"{record.agent} {record.consequence}")
        elif isinstance(record, DeliveryDropped):
            ends.append(f"{record.agent} dropped")
        elif type(record).__name__ == "HandlerCancelled":
            ends.append(f"{record.agent} cancelled")
    return (
        type_name(type(node.event)),
        sorted(ends),
        [_tree_of(child) for child in sorted(node.children, key=_id_of)],
    )

"""OpenTelemetry: what a real OTLP receiver gets (T1, T2)."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import anyio
import attrs
import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)

from agentflow import (
    AgentFailed,
    AsyncAggregatorAgent,
    AsyncDispatcher,
    BaseAgent,
    BaseAsyncAgent,
    Event,
    FlowFailed,
    Retry,
    Router,
    TerminateEvent,
)
from agentflow.abc import Observer
from agentflow.journal import MemoryJournal
from agentflow.llm import (
    ImagePart,
    LLMBroker,
    LLMMessage,
    RateLimited,
    ReasoningPart,
    ToolCall,
)
from agentflow.testing import ScriptedGateway
from agentflow.tracing import Tracer
from agentflow.tracing.otel import OpenTelemetryObserver, _message_of
from tests.fakes import (
    Boom,
    Collector,
    Other,
    Ping,
    Pong,
    fail,
    failing_session,
    forever,
    router_of,
)
from tests.journal.lives import Cutting
from tests.tracing.otlp import Receiver, Span, forest_in, forest_of, running_receiver


@attrs.frozen
class Telemetry:
    """An observer whose spans and metrics go to a receiver."""

    observer: OpenTelemetryObserver
    provider: TracerProvider
    meters: MeterProvider
    receiver: Receiver

    def flush(self) -> list[Span]:
        """Send all that has ended, and return all that was received."""
        assert self.provider.force_flush()
        assert self.meters.force_flush()
        return self.receiver.spans


@contextmanager
def running_telemetry() -> Generator[Telemetry]:
    """Send spans and metrics to a receiver, over HTTP as in production."""
    with running_receiver() as receiver:
        provider = TracerProvider()
        exporter = OTLPSpanExporter(f"{receiver.url}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter))
        metrics = OTLPMetricExporter(f"{receiver.url}/v1/metrics")
        reader = PeriodicExportingMetricReader(metrics)
        meters = MeterProvider([reader])
        observer = OpenTelemetryObserver(
            tracer_provider=provider, meter_provider=meters
        )
        try:
            yield Telemetry(observer, provider, meters, receiver)
        finally:
            provider.shutdown()
            meters.shutdown()


@pytest.fixture
def telemetry() -> Generator[Telemetry]:
    """Telemetry whose spans can be looked at."""
    with running_telemetry() as running:
        yield running


class Combiner(AsyncAggregatorAgent):
    event_types_needed: ClassVar[Sequence[type[Event]]] = [Pong, Other]

    async def process_events(self, events: list[Event]) -> Event:
        return Boom(source="combiner", text="combined")


class Waiter(BaseAsyncAgent):
    async def receive_event_async(self, event: Event) -> None:
        await anyio.sleep_forever()


class Threaded(BaseAgent):
    def receive_event(self, event: Boom) -> TerminateEvent:
        return TerminateEvent(source="threaded")


async def two(event: Ping) -> list[Event]:
    """Emit one of each."""
    await anyio.sleep(0.1)
    return [Pong(source="two"), Other(source="two")]


async def stream(event: Ping) -> Any:
    """Emit one after another."""
    for _ in range(2):
        await anyio.sleep(0.1)
        yield Pong(source="stream")


async def test_the_spans_make_the_same_tree_as_the_tracer(telemetry: Telemetry) -> None:
    """(T3) Aggregators, streams, threads, unrouted events and a termination included."""
    tracer = Tracer()
    combiner = Combiner()
    router = router_of((Ping, two), (Ping, stream), (Pong, combiner), (Other, combiner))
    router.add_route(Boom, Threaded())
    observers: list[Observer] = [tracer, telemetry.observer]
    async with AsyncDispatcher(router, tracer=observers) as dispatcher:
        for _ in range(3):
            dispatcher.dispatch(Ping(source="main"))
    spans = telemetry.flush()
    flows = list(tracer.flows())
    assert len(flows) == 3
    for correlation_id in flows:
        expected = forest_in(tracer.tree(correlation_id))
        assert forest_of(spans, correlation_id) == expected
        assert "TerminateEvent" in str(expected)
    assert len({span.trace for span in spans}) == 3


async def test_failures_retries_cancellations_and_drops_are_in_the_tree(
    telemetry: Telemetry,
) -> None:
    """(T3) Each is an error of its own kind; none is left unset."""
    tracer = Tracer()
    router = Router()
    router.add_route(Boom, fail, retry=Retry(attempts=2, initial=0.1))
    router.add_route(Boom, Waiter())  # takes one event, the other waits
    observers: list[Observer] = [tracer, telemetry.observer]
    async with failing_session(router, tracer=observers) as (dispatcher, _):
        for _ in range(2):
            dispatcher.dispatch(Boom(source="main", correlation_id="flow"))
    spans = telemetry.flush()
    assert forest_of(spans, "flow") == forest_in(tracer.tree("flow"))
    handlers = {
        span.attributes["agentflow.outcome"]: span
        for span in spans
        if span.name.startswith("invoke_agent")
    }
    assert set(handlers) == {"retry", "fail flow", "cancelled", "dropped"}
    assert {span.status for span in handlers.values()} == {2}
    assert handlers["fail flow"].attributes["error.type"] == "ValueError"
    assert handlers["fail flow"].attributes["agentflow.attempt"] == 2
    assert handlers["cancelled"].attributes["error.type"] == "cancelled"
    assert handlers["cancelled"].status_message == "fail raised ValueError: boom"
    flow = telemetry.receiver.named("invoke_workflow Boom")
    assert (flow.status, flow.attributes["error.type"]) == (2, "failed")


async def test_a_handled_failure_stands_below_the_handler_that_failed(
    telemetry: Telemetry,
) -> None:
    """(F2) Although that handler's span has ended."""
    router = router_of((Boom, fail))

    @router.on(AgentFailed)
    async def mend(event: AgentFailed) -> Pong:
        return Pong(source="mend")

    async with AsyncDispatcher(router, tracer=telemetry.observer) as dispatcher:
        await dispatcher.run(Boom(source="main"), Pong)
    telemetry.flush()
    named = telemetry.receiver.named
    assert named("invoke_agent mend").parent == named("invoke_agent fail").id
    assert named("event Pong").parent == named("invoke_agent mend").id
    assert named("event Pong").status == 0
    assert named("invoke_workflow Boom").attributes["agentflow.outcome"] == "finished"


async def test_a_flow_stands_below_the_span_it_was_dispatched_in(
    telemetry: Telemetry,
) -> None:
    """(T1) Another root of it, from elsewhere, is linked to where it came from."""
    ours = telemetry.provider.get_tracer("agentflow")

    async def request(dispatcher: AsyncDispatcher) -> None:
        with ours.start_as_current_span("request one"):
            async with dispatcher.open_flow(Ping(source="main")) as flow:
                with ours.start_as_current_span("request two"):
                    flow.dispatch(Pong(source="main"))
                await anyio.sleep(1)
                flow.cancel("enough")

    router = router_of((Ping, forever), (Pong, Collector()))
    async with AsyncDispatcher(router, tracer=telemetry.observer) as dispatcher:
        await request(dispatcher)
    telemetry.flush()
    named = telemetry.receiver.named
    workflow = named("invoke_workflow Ping")
    assert workflow.parent == named("request one").id
    assert named("invoke_agent forever").parent == workflow.id
    assert named("invoke_agent forever").links == []
    assert named("invoke_agent Collector").parent == workflow.id
    assert named("invoke_agent Collector").links == [named("request two").id]
    assert workflow.attributes["error.type"] == "cancelled"
    assert workflow.status_message == "enough"


async def test_an_aggregator_is_linked_to_the_other_causes_of_its_set(
    telemetry: Telemetry,
) -> None:
    """(A4) Its parent emitted the event that completed the set."""
    combiner = Combiner()

    async def one(event: Ping) -> Pong:
        return Pong(source="one")

    async def other(event: Ping) -> Other:
        await anyio.sleep(1)
        return Other(source="other")

    router = router_of((Ping, one), (Ping, other), (Pong, combiner), (Other, combiner))
    async with AsyncDispatcher(router, tracer=telemetry.observer) as dispatcher:
        await dispatcher.run(Ping(source="main"), Boom)
    spans = telemetry.flush()
    named = telemetry.receiver.named
    first, last = (s for s in spans if s.name == "invoke_agent Combiner")
    assert first.links == []
    assert first.parent == named("invoke_agent one").id
    assert last.parent == named("invoke_agent other").id
    assert last.links == [named("invoke_agent one").id]
    assert named("event Boom").parent == last.id


async def test_a_handlers_own_spans_stand_below_its_span(telemetry: Telemetry) -> None:
    """(T1) The next handler of the same worker has its own; none of them leaks."""
    ours = telemetry.provider.get_tracer("agentflow")

    async def work(event: Ping) -> Pong | None:
        with ours.start_as_current_span(f"step {event.n}"):
            await anyio.sleep(0.1)
        return Pong(source="work", n=event.n) if event.n < 2 else None

    async def go_on(event: Pong) -> Ping:
        assert trace.get_current_span().get_span_context().is_valid
        return Ping(source="go on", n=event.n + 1)

    router = router_of((Ping, work), (Pong, go_on))
    async with AsyncDispatcher(router, tracer=telemetry.observer) as dispatcher:
        dispatcher.dispatch(Ping(source="main"))
        await dispatcher.wait_for_empty_queue()
        assert dispatcher.statistics().workers == 1
    assert not trace.get_current_span().get_span_context().is_valid
    spans = telemetry.flush()
    handlers = [s for s in spans if s.name == "invoke_agent work"]
    steps = [telemetry.receiver.named(f"step {n}") for n in range(3)]
    assert [step.parent for step in steps] == [handler.id for handler in handlers]


async def test_one_worker_handles_everything_when_telemetry_is_on(
    telemetry: Telemetry,
) -> None:
    """(T1) Making spans current does not count as a handler's change of the context."""
    workers: set[int] = set()

    async def count(event: Ping) -> Ping | None:
        workers.add(anyio.get_current_task().id)
        return Ping(source="count", n=event.n - 1) if event.n else None

    router = router_of((Ping, count))
    async with AsyncDispatcher(router, tracer=telemetry.observer) as dispatcher:
        dispatcher.dispatch(Ping(source="main", n=50))
    assert len(workers) == 1


class Asker(BaseAsyncAgent):
    def __init__(self, broker: LLMBroker) -> None:
        self.broker = broker

    async def receive_event_async(self, event: Ping) -> Pong:
        await self.broker.generate("What is six times seven?", tools=[multiply])
        return Pong(source="asker")


async def multiply(a: int, b: int) -> int:
    """Multiply."""
    if a < 0:
        raise ValueError("too small")
    if a == 0:
        await anyio.sleep_forever()
    return a * b


def calling(number: int) -> ToolCall:
    """Return a call of the tool."""
    return ToolCall(id="t1", name="multiply", arguments=f'{{"a": {number}, "b": 7}}')


async def ask(telemetry: Telemetry, script: Any, *, content: bool = False) -> None:
    """Run a flow in which an agent asks a model."""
    gateway = ScriptedGateway(script)
    async with LLMBroker("m-1", gateway=gateway, records_content=content) as broker:
        router = router_of((Ping, Asker(broker)))
        async with AsyncDispatcher(router, tracer=telemetry.observer) as dispatcher:
            with anyio.move_on_after(1):
                await dispatcher.run(Ping(source="main"), Pong)


async def test_calls_of_models_and_tools_stand_below_their_handler(
    telemetry: Telemetry,
) -> None:
    """(T1) With the names, attributes and metrics of the GenAI conventions."""
    await ask(telemetry, [calling(6), "42"])
    spans = telemetry.flush()
    handler = telemetry.receiver.named("invoke_agent Asker")
    first, second = (s for s in spans if s.name == "chat m-1")
    tool = telemetry.receiver.named("execute_tool multiply")
    assert {first.parent, second.parent, tool.parent} == {handler.id}
    assert first.attributes["gen_ai.operation.name"] == "chat"
    assert first.attributes["gen_ai.request.model"] == "m-1"
    assert first.attributes["gen_ai.response.finish_reasons"] == ["tool_call"]
    assert second.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert "gen_ai.usage.input_tokens" in first.attributes
    assert first.attributes["gen_ai.provider.name"] == "scripted"
    assert tool.attributes["gen_ai.tool.call.id"] == "t1"
    assert tool.attributes["gen_ai.operation.name"] == "execute_tool"
    assert handler.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert "What is six" not in str(spans)
    assert telemetry.receiver.metrics >= {
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
        "gen_ai.execute_tool.duration",
        "gen_ai.invoke_agent.duration",
        "gen_ai.invoke_workflow.duration",
    }


async def test_answers_from_the_journal_are_marked_as_such(
    telemetry: Telemetry,
) -> None:
    """(T1, J18) And count no tokens a second time."""
    llm = LLMBroker("m-1", gateway=ScriptedGateway([calling(6), "42"]))
    handler = Cutting(lambda: llm.generate("Six times seven?", tools=[multiply]))
    await handler.run_twice(MemoryJournal(), tracer=telemetry.observer)
    spans = [s for s in telemetry.flush() if "agentflow.from_journal" in s.attributes]
    chats = [s for s in spans if s.name == "chat m-1"]
    assert [s.attributes["agentflow.attempts"] for s in chats] == [0, 0]
    assert not any(s.attributes["gen_ai.usage.input_tokens"] for s in chats)
    assert len(spans) == 3


@pytest.fixture
def capturing(monkeypatch: pytest.MonkeyPatch) -> Generator[Telemetry]:
    """Telemetry that was asked for content."""
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    monkeypatch.setenv(name, "SPAN_ONLY")
    with running_telemetry() as running:
        yield running


async def test_content_is_there_when_both_asked_for_it(capturing: Telemetry) -> None:
    """(T1) The broker records it, and the environment lets it out."""
    await ask(capturing, [calling(6), "42"], content=True)
    spans = capturing.flush()
    chats = [s for s in spans if s.name == "chat m-1"]
    assert "What is six" in chats[0].attributes["gen_ai.input.messages"]
    assert "multiply" in chats[0].attributes["gen_ai.output.messages"]
    assert "tool_call_response" in chats[1].attributes["gen_ai.input.messages"]
    tool = capturing.receiver.named("execute_tool multiply")
    assert tool.attributes["gen_ai.tool.call.arguments"] == '{"a": 6, "b": 7}'
    assert tool.attributes["gen_ai.tool.call.result"] == "42"


async def test_content_is_not_there_unless_the_broker_records_it(
    capturing: Telemetry,
) -> None:
    """(T1) The environment alone lets nothing out."""
    await ask(capturing, [calling(6), "42"])
    assert "What is six" not in str(capturing.flush())


async def test_content_is_not_there_unless_the_environment_lets_it_out(
    telemetry: Telemetry,
) -> None:
    """(T1) The broker alone lets nothing out."""
    await ask(telemetry, [calling(6), "42"], content=True)
    spans = telemetry.flush()
    assert "What is six" not in str(spans)
    assert '"a": 6' not in str(spans)


async def test_failed_and_cancelled_calls_are_marked_as_such(
    telemetry: Telemetry,
) -> None:
    """(T1) Of models and of tools."""
    error = RateLimited("slow down")
    with pytest.raises(FlowFailed):
        await ask(telemetry, [error, error, error])
    await ask(telemetry, [calling(-1), "oh"])
    await ask(telemetry, [calling(0)])

    async def never(request: object) -> str:
        await anyio.sleep_forever()
        return ""

    await ask(telemetry, never)
    spans = telemetry.flush()
    chats = [s.attributes.get("error.type") for s in spans if s.name == "chat m-1"]
    tools = [
        s.attributes.get("error.type") for s in spans if s.name.startswith("execute")
    ]
    assert [str(kind).rpartition(".")[2] for kind in chats if kind] == [
        "RateLimited",
        "cancelled",
    ]
    assert [str(kind).rpartition(".")[2] for kind in tools] == [
        "ValueError",
        "cancelled",
    ]
    unset = [s.name for s in spans if s.attributes.get("error.type") and s.status != 2]
    assert not unset


class BrokenExporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise OSError("no collector")

    def shutdown(self) -> None:
        """Nothing to shut down."""


async def test_an_exporter_that_raises_costs_the_flows_nothing() -> None:
    """(T2) Its errors stay in its own thread."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(BrokenExporter()))
    observer = OpenTelemetryObserver(tracer_provider=provider)
    async with AsyncDispatcher(router_of((Ping, two)), tracer=observer) as dispatcher:
        await dispatcher.run(Ping(source="main"), Pong)
    provider.force_flush()
    provider.shutdown()
    assert not observer._flows


async def test_records_that_are_missing_break_nothing() -> None:
    """(T2) An observer may come late, and a flow end with something left open."""
    known, partly = Tracer(), OpenTelemetryObserver(tracer_provider=TracerProvider())
    gateway = ScriptedGateway([calling(6), "42"])
    combiner = Combiner()
    async with LLMBroker("m-1", gateway=gateway) as broker:
        router = router_of((Ping, Asker(broker)), (Ping, two), (Pong, combiner))
        router.add_route(Other, combiner)
        async with AsyncDispatcher(router, tracer=known) as dispatcher:
            dispatcher.dispatch(Ping(source="main"))
    first, *others, last = known.records()
    for number in range(len(others)):
        for records in (
            others[number:],
            [first, *others[number:], last],
            [first, *others[:number], last],
        ):
            for record in records:
                partly.record(record)
        assert not partly._flows


def test_a_message_of_another_kind_has_no_parts() -> None:
    """(T2) Pictures, and what only one provider knows, are left out."""
    message = LLMMessage(
        content=(ReasoningPart(text="hm"), ImagePart(data=b"x"), calling(1))
    )
    role, parts = _message_of(message)
    assert role == "user"
    assert [part.type for part in parts] == ["reasoning", "tool_call"]
    assert _message_of(3) == ("", [])

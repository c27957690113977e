"""The fixtures in this suite's own hands."""

import anyio
import pytest
import trio
from dirty_equals import HasAttributes, IsFloat
from inline_snapshot import snapshot

from agentflow.llm import BaseAsyncLLMAgent
from agentflow.testing import FlowSession, FlowTrace, ScriptedGateway
from tests.fakes import Ping, Pong


class Teller(BaseAsyncLLMAgent):
    """Answers with as many words as the model says."""

    async def receive_event_async(self, event: Ping) -> Pong:
        text = await self.generate_response(f"Say {event.n}.")
        return Pong(source="Teller", n=len(text.split()))


@pytest.mark.trio
async def test_session_model_and_trace_go_together(
    flow_session: FlowSession, scripted_llm: ScriptedGateway, flow_trace: FlowTrace
) -> None:
    """Routes are added in the test, and an hour takes no time."""
    scripted_llm.reply("one two three", when="Say 3", delay=3600)
    flow_session.router.add_route(Ping, Teller(scripted_llm.broker()))
    with trio.fail_after(3601):
        await flow_session.run(Ping(source="test", n=3), Pong)
    flow_trace.assert_sequence(
        Ping, HasAttributes(n=3) & HasAttributes(source="Teller")
    )
    assert flow_trace.snapshot() == snapshot([
        {
            "event": "Ping",
            "id": "#1",
            "source": "test",
            "at": 0.0,
            "fields": {"n": 3},
            "handled": [{"agent": "Teller", "outcome": "finished", "took": IsFloat()}],
            "effects": [
                {
                    "event": "Pong",
                    "id": "#2",
                    "source": "Teller",
                    "at": 3600.0,
                    "fields": {"n": 3},
                }
            ],
        }
    ])


async def test_a_scripted_model_needs_no_host(scripted_llm: ScriptedGateway) -> None:
    """It is a plain fixture, for any loop."""
    scripted_llm.reply("late", delay=2)
    with anyio.fail_after(3):
        assert (await scripted_llm.broker().generate("?")).text == "late"

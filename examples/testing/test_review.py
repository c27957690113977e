"""One flow tested five ways: with a script, a recording, cancellations, a crash, time.

``pytest`` in this folder runs them, with pytest-trio and agentflow's own fixtures. No
test needs a network or waits; the recording was made with
``pytest --agentflow-record=once``.
"""

from contextlib import suppress

import pytest
from review import Decided, Desk, Reviewed, ReviewRequested, make_router

from agentflow import FlowCancelled, Router
from agentflow.llm import LLMBroker
from agentflow.testing import (
    FlowSession,
    FlowTrace,
    RecordedLLM,
    ScriptedGateway,
    every_checkpoint,
    open_test_session,
)

TEXT = ReviewRequested(source="test", text="It was a dark and stormy night.")


@pytest.fixture
def flow_router(scripted_llm: ScriptedGateway) -> Router:
    """Have the session run the flow, on a scripted model."""
    return make_router(scripted_llm.broker())


async def test_a_good_text_is_printed(
    flow_session: FlowSession, scripted_llm: ScriptedGateway, flow_trace: FlowTrace
) -> None:
    """Scripted: the model says what the test wants to see handled."""
    scripted_llm.reply("A good beginning.", when="dark and stormy")
    decided = await flow_session.run(TEXT, Decided)
    assert decided.verdict == "print"
    flow_trace.assert_sequence(ReviewRequested, Reviewed, Decided, exactly=True)


async def test_a_real_models_review_is_understood(recorded_llm: RecordedLLM) -> None:
    """Recorded: what a real model has said once, said again."""
    async with recorded_llm.open_local_model() as gateway:
        llm = LLMBroker(
            "smollm2", gateway=gateway, temperature=0, seed=1, max_tokens=40
        )
        async with open_test_session(make_router(llm)) as session:
            decided = await session.run(TEXT, Decided)
    assert decided.verdict == "return"


async def test_wherever_it_is_cancelled_the_desk_is_clear() -> None:
    """Cancelled at every checkpoint of the reviewer in turn."""
    for checkpoint in every_checkpoint():
        model, desk = ScriptedGateway(), Desk()
        model.reply("Good.")
        async with open_test_session(make_router(model.broker(), desk)) as session:
            session.cancel_at("Reviewer", checkpoint)
            with suppress(FlowCancelled):
                await session.run(TEXT, Decided)
        assert desk.text == ""


async def test_a_failing_reviewer_means_a_person(flow_session: FlowSession) -> None:
    """With a failing agent: the rest of the flow makes do without it."""
    flow_session.crash_at("Reviewer", error=OSError("out of ink"))
    decided = await flow_session.run(TEXT, Decided)
    assert decided.verdict == "ask a person: out of ink"


async def test_a_model_that_takes_over_an_hour_is_given_up(
    flow_session: FlowSession, scripted_llm: ScriptedGateway
) -> None:
    """With an hour's timeout, in no time."""
    scripted_llm.reply("Good.", delay=3601)
    decided = await flow_session.run(TEXT, Decided)
    assert decided.source == "fallback"

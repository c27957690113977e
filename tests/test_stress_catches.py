"""The stress test tested: faults planted in the kernel, each of which it has to catch."""

import gc
from collections.abc import Callable
from typing import Any

import pytest

from agentflow._dispatcher import AsyncDispatcher
from agentflow._engine import Engine
from agentflow._joining import Needs
from agentflow._ledger import Lane, Ledger
from agentflow._workers import Workers
from tests.conftest import run_on
from tests.stress import live_and_judge

SEEDS = 40

Plant = Callable[[pytest.MonkeyPatch], None]


def nothing(*_: object, **__: object) -> None:
    """Do nothing, in the place of something that matters."""


async def nothing_async(*_: object) -> None:
    """Await nothing."""


def last_come_first_served(patch: pytest.MonkeyPatch) -> None:
    """A lane passes its place to the wrong end of its backlog."""
    release = Ledger.release

    def wrong(self: Ledger, lane: Lane) -> None:
        lane.backlog.reverse()
        release(self, lane)
        lane.backlog.reverse()

    patch.setattr(Ledger, "release", wrong)


def a_place_lost_with_a_dead_entry(patch: pytest.MonkeyPatch) -> None:
    """A dead entry keeps its place in the lane."""
    patch.setattr(Ledger, "skip", nothing)


def lanes_without_limits(patch: pytest.MonkeyPatch) -> None:
    """Every agent takes as many events as there are."""
    make = Lane.__init__

    def wrong(self: Lane, _limit: int | None) -> None:
        make(self, None)

    patch.setattr(Lane, "__init__", wrong)


def a_dropped_delivery_stays_open(patch: pytest.MonkeyPatch) -> None:
    """What a cut drops is still counted as open."""
    drop = Ledger._drop

    def wrong(self: Ledger, delivery: Any) -> bool:
        delivery.root.open += 1
        return drop(self, delivery)

    patch.setattr(Ledger, "_drop", wrong)


def a_drop_without_a_record(patch: pytest.MonkeyPatch) -> None:
    """Dropped deliveries are not told to anybody."""
    patch.setattr(Engine, "_dropped", nothing)


def a_lost_wake_up(patch: pytest.MonkeyPatch) -> None:
    """Work that comes when all workers are idle wakes nobody."""
    wake = Workers.wake

    def wrong(self: Workers) -> None:
        if not self.count or self._parked < self.count:
            wake(self)

    patch.setattr(Workers, "wake", wrong)


def a_failure_without_consequence(patch: pytest.MonkeyPatch) -> None:
    """A failed handler does not fail its flow."""
    patch.setattr(Engine, "_fail_flow", nothing)


def a_flow_that_is_never_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A finished flow leaves something behind."""
    patch.setattr(Ledger, "forget", nothing)


def a_retry_that_never_comes(patch: pytest.MonkeyPatch) -> None:
    """The wait before an attempt has no end."""
    patch.setattr(Workers, "_wait_and_resume", nothing_async)


def an_interrupted_handler_stays_open(patch: pytest.MonkeyPatch) -> None:
    """A cancelled delivery is not struck out."""
    patch.setattr(Engine, "interrupted", nothing)


def a_follow_up_handled_twice(patch: pytest.MonkeyPatch) -> None:
    """A worker goes on with a delivery that is still in the queue."""
    succeeded = Engine.succeeded

    def wrong(self: Engine, *args: Any) -> Any:
        follow_up = succeeded(self, *args)
        if follow_up is not None:
            self.ledger.ready.append(follow_up)
        return follow_up

    patch.setattr(Engine, "succeeded", wrong)


def an_output_lost(patch: pytest.MonkeyPatch) -> None:
    """The last of several outputs is not accepted."""
    succeeded = Engine.succeeded

    def wrong(self: Engine, delivery: Any, outputs: Any, *args: Any) -> Any:
        return succeeded(self, delivery, outputs[:1], *args)

    patch.setattr(Engine, "succeeded", wrong)


def a_wait_that_ends_too_early(patch: pytest.MonkeyPatch) -> None:
    """wait_for_empty_queue says True while there is work."""

    async def wrong(self: AsyncDispatcher, *_: object) -> bool:
        await nothing_async()
        return True

    patch.setattr(AsyncDispatcher, "wait_for_empty_queue", wrong)


def room_that_never_comes(patch: pytest.MonkeyPatch) -> None:
    """A finished root event keeps its place at the door."""
    close = Ledger.close_if_done

    def wrong(self: Ledger, root: Any) -> bool:
        self.unfinished += root.counted and not root.open
        return close(self, root)

    patch.setattr(Ledger, "close_if_done", wrong)


def a_report_that_forgets(patch: pytest.MonkeyPatch) -> None:
    """What was not delivered is not in the report of the session's end."""
    patch.setattr(Engine, "_leave", nothing)


def a_set_that_lacks_an_event(patch: pytest.MonkeyPatch) -> None:
    """An aggregator goes ahead one event too early."""
    make = Needs.__init__

    def wrong(self: Needs, types: Any, quorum: int | None = None) -> None:
        make(self, types, quorum)
        self.quorum -= 1

    patch.setattr(Needs, "__init__", wrong)


def a_flow_without_a_budget(patch: pytest.MonkeyPatch) -> None:
    """A flow may accept any number of events."""
    make = Engine.__init__

    def wrong(self: Engine, *args: Any, **options: Any) -> None:
        make(self, *args, **options | {"max_events_per_flow": None})

    patch.setattr(Engine, "__init__", wrong)


def a_session_without_a_limit(patch: pytest.MonkeyPatch) -> None:
    """A session runs as many handlers at a time as there are."""
    make = Workers.__init__

    def wrong(self: Workers, *args: Any, **options: Any) -> None:
        make(self, *args, **options | {"limit": None})

    patch.setattr(Workers, "__init__", wrong)


FAULTS: list[Plant] = [
    last_come_first_served,
    a_place_lost_with_a_dead_entry,
    lanes_without_limits,
    a_dropped_delivery_stays_open,
    a_drop_without_a_record,
    a_lost_wake_up,
    a_failure_without_consequence,
    a_flow_that_is_never_forgotten,
    a_retry_that_never_comes,
    an_interrupted_handler_stays_open,
    a_follow_up_handled_twice,
    an_output_lost,
    a_wait_that_ends_too_early,
    room_that_never_comes,
    a_report_that_forgets,
    a_set_that_lacks_an_event,
    a_flow_without_a_budget,
    a_session_without_a_limit,
]


SIGNS = (AssertionError, TimeoutError, KeyError, RuntimeError, BaseExceptionGroup)
"""How a broken kernel shows; it may also leave cancel scopes in the wrong order."""


def first_caught() -> int | None:
    """Return the first seed whose session goes wrong."""
    for seed in range(SEEDS):
        try:
            run_on("asyncio", lambda seed=seed: live_and_judge(seed))  # type: ignore[misc]
        except SIGNS:
            return seed
    return None


@pytest.mark.filterwarnings("ignore")  # what a broken session leaves behind
@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_caught(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a few random sessions, some check of the judge or the time limit fails."""
    plant(monkeypatch)
    caught = first_caught()
    gc.collect()  # what the broken session left, while the warnings about it are off
    assert caught is not None


def test_a_sound_kernel_is_not_accused() -> None:
    """The same sessions pass without a fault."""
    assert first_caught() is None

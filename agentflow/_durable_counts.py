"""What a handler of a durable session has counted so far, each step for itself.

A handler that runs again is known by its order: its second event is its second event again,
and so on. Steps that are not made again (`once`, the tool calls of a model) must not shift
that order for the code around them, and steps that run side by side must not mix theirs. So
whatever is counted is counted within the step whose code it is, and named after it.
"""

from collections.abc import Generator
from contextlib import contextmanager

import attrs

from agentflow._context import current_step
from agentflow._steps import Key

OF_ATTEMPT = "attempt:"
"""How the names of memos begin that are for one attempt: the next does not look at them,
and a dead letter that is opened again has none."""


@attrs.define
class Counts:
    """How often the code of one step has done what is counted."""

    emitted: int = 0
    """How many events it has emitted so far."""
    changes: int = 0
    """How often it has changed the shared memory."""
    waits: int = 0
    answers: dict[str, int] = attrs.field(factory=dict[str, int])
    """How many answers it has had of each kind that is kept."""
    steps: dict[str, "Counts"] = attrs.field(factory=dict[str, "Counts"])
    """The counts of the steps within."""

    def here(self) -> "Counts":
        """Return the counts of the step whose code runs; of the handler's own, these."""
        step = current_step.get()
        return self.steps.setdefault(step, Counts()) if step else self


def named_here(kind: str, count: int) -> str:
    """Return the name of something that is counted in the step whose code runs."""
    step = current_step.get()
    return f"{kind}:{step}:{count}" if step else f"{kind}:{count}"


def key_here(key: Key) -> Key:
    """Return what stands for a delivery in the ids of what the running step emits."""
    step = current_step.get()
    return Key(key.flow, key.event, f"{key.agent}\0{step}") if step else key


@contextmanager
def step_within(name: str) -> Generator[None]:
    """Let the code of the block count for itself."""
    outer = current_step.get()
    token = current_step.set(f"{outer}/{name}" if outer else name)
    try:
        yield
    finally:
        current_step.reset(token)

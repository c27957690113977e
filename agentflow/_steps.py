"""What a session asks of its journal, and what the journal answers: plain values.

Theory of operation. The journal holds what has been accepted and not finished:

- A *flow* has a status and an open counter. The counter changes in the same step as the
  deliveries do, so it is 0 exactly when the flow is idle, however many sessions work on it.
- A *delivery* is one event on its way to one agent, known by its `key`. It is open until
  it is committed, dead when its flow failed, and gone afterwards. An open delivery may be
  claimed by an owner; only that owner's steps for it count, all others are fenced off.
- A *step* happens as a whole or not at all, and steps happen in the order in which they
  were submitted. `Commit` is the one that matters: fence, user's rows, outputs, open
  counter and the end of the flow in one.

Times are Unix times in seconds: they have to mean something to the next process.
"""

from typing import Literal, NamedTuple

import attrs

FlowEnd = Literal["failed", "cancelled", "terminated"]
"""How a flow ends that does not end by itself."""


class Key(NamedTuple):
    """Which delivery: the id of its flow, the id of its event, the name of its agent."""

    flow: str
    event: str
    agent: str


@attrs.define(kw_only=True)  # not frozen: that takes twice as long
class Entry:
    """An event as it is stored, and where it goes.

    Attributes:
        id: The event's id; an id that the journal knows already is not entered again.
        flow: Its correlation id.
        parent: The id of the event whose handler emitted it; None for a root.
        kind: The name of its type, as the encoding has it.
        body: The event, encoded.
        agents: The names of the agents that get it.
        terminates: Whether it ends its flow.
    """

    id: str
    flow: str
    parent: str | None
    kind: str
    body: str
    agents: tuple[str, ...] = ()
    terminates: bool = False


@attrs.frozen(kw_only=True)
class Row:
    """A statement of the user's for the commit of a delivery.

    Attributes:
        statement: One SQL statement.
        parameters: Its values.
    """

    statement: str
    parameters: tuple[object, ...] = ()


@attrs.define(kw_only=True)  # not frozen: that takes twice as long
class Append:
    """Enter events; the answer is `Done`, with whether each was new.

    Attributes:
        entries: The events.
        by: The delivery whose handler emitted them; None from outside. A handler that
            has lost its delivery is fenced off.
        deadline: When the flow has to be over; None leaves it as it is.
        fresh: Whether all ids were made for this step, so that none can be known.
    """

    entries: tuple[Entry, ...]
    by: Key | None = None
    deadline: float | None = None
    fresh: bool = False


@attrs.define(kw_only=True)  # not frozen: that takes twice as long
class Commit:
    """Finish a delivery and enter what its handler returned, in one.

    Attributes:
        key: The delivery.
        entries: What the handler returned.
        rows: The user's rows.
        fresh: Whether the handler has run for the first time, so that the ids of what it
            returned cannot be known.
    """

    key: Key
    entries: tuple[Entry, ...] = ()
    rows: tuple[Row, ...] = ()
    fresh: bool = False


@attrs.frozen(kw_only=True)
class Join:
    """Add the event of a delivery to its aggregator's set; the answer is `Joined`.

    An event that completes no set is finished with that. One that completes a set keeps
    its delivery open, for the set to be processed, and gets the same set whenever asked.

    Attributes:
        key: The delivery.
        places: The places of the set that the event may fill, in order.
        size: How many places there are.
        quorum: How many events make a set.
    """

    key: Key
    places: tuple[int, ...]
    size: int
    quorum: int


@attrs.frozen(kw_only=True)
class Sit(Join):
    """Add the event of a delivery to its aggregator's set, which has a time limit.

    The answer is `Joined`. Unlike with `Join`, the delivery stays open until it is
    committed: it waits for the rest of the set, or for its time to be up. Its members are
    None while it waits, and none if another event has the set.

    Attributes:
        overdue: Whether its time is up: an event that is in no set yet completes one with
            what there is.
    """

    overdue: bool = False


@attrs.frozen(kw_only=True)
class Fail:
    """Note that a handler raised, and that it is to be tried again.

    Attributes:
        key: The delivery.
        attempt: Which attempt failed; the first is 1.
        due: When it is to be tried again.
        error: What it raised, in words.
    """

    key: Key
    attempt: int
    due: float
    error: str


@attrs.frozen(kw_only=True)
class Cut:
    """End a flow: with "failed" its open deliveries are dead letters, else they are gone.

    Attributes:
        flow: The flow.
        status: How it ends.
        reason: Why.
        by: The delivery whose failure ends it.
        attempt: Which attempt that was.
        error: What it raised, in words.
    """

    flow: str
    status: FlowEnd
    reason: str
    by: Key | None = None
    attempt: int = 1
    error: str = ""


@attrs.frozen(kw_only=True)
class Claim:
    """Take over open deliveries that nobody has, in order of arrival.

    Those that ran alone when a process died come last.

    The answer is `Claimed`.

    Attributes:
        limit: How many at most.
        flow: Only those of this flow.
        suspects: Only those that ran when a process died for the second time, one at a
            time; or only the others.
    """

    limit: int
    flow: str | None = None
    suspects: bool = False


@attrs.frozen(kw_only=True)
class Start:
    """Note that a recovered delivery begins, so that a crash is blamed on few.

    Attributes:
        key: The delivery.
        alone: Whether nothing else runs beside it.
    """

    key: Key
    alone: bool = False


@attrs.frozen(kw_only=True)
class Memo:
    """Keep a value for a delivery until it is done.

    Attributes:
        key: The delivery.
        name: What the handler calls the value.
        value: The value, encoded.
    """

    key: Key
    name: str
    value: str


@attrs.frozen(kw_only=True)
class Remember:
    """Change the shared memory.

    Attributes:
        facts: The new values of top-level facts, encoded; None removes one.
        key: The delivery whose handler made the change; None from outside.
        name: A memo set with the change, so that it is made once.
    """

    facts: tuple[tuple[str, str | None], ...]
    key: Key | None = None
    name: str = ""


@attrs.frozen(kw_only=True)
class FreeJoins:
    """Forget the sets of a flow that is over for its session, unless it is open.

    Attributes:
        flow: The flow.
    """

    flow: str


@attrs.frozen(kw_only=True)
class Release:
    """Let go of a flow: its open deliveries are free for the next claim.

    Attributes:
        flow: The flow.
    """

    flow: str


@attrs.frozen(kw_only=True)
class Renew:
    """Say that the owner lives.

    Attributes:
        until: When its deliveries are free again unless it renews once more.
    """

    until: float


@attrs.frozen(kw_only=True)
class Look:
    """See how far a flow is, or everything; the answer is `Looked`.

    Attributes:
        flow: The flow; None for all there is.
    """

    flow: str | None


Step = (
    Append
    | Commit
    | Join
    | Sit
    | Fail
    | Cut
    | Claim
    | FreeJoins
    | Release
    | Start
    | Memo
    | Remember
    | Renew
    | Look
)


@attrs.frozen(kw_only=True)
class Done:
    """The step has happened.

    Attributes:
        new: For each entry, whether it was new.
    """

    new: tuple[bool, ...] = ()


@attrs.frozen(kw_only=True)
class Joined:
    """The event is in the set.

    Attributes:
        members: The ids of the set it completes, in order of the places, or None.
        bodies: Those events, encoded, in the same order.
    """

    members: tuple[str, ...] | None
    bodies: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Stored:
    """An open delivery as the journal has it.

    Attributes:
        key: Which.
        body: The event, encoded.
        attempt: Which attempt the next one is.
        due: When it is due; 0 at once.
        recovered: Whether a process died that had it.
        crashes: How often one died while this ran alone.
        memos: What its handler kept, by name.
    """

    key: Key
    body: str
    attempt: int = 1
    due: float = 0.0
    recovered: bool = False
    crashes: int = 0
    memos: tuple[tuple[str, str], ...] = ()


@attrs.frozen(kw_only=True)
class StoredFlow:
    """A flow as the journal has it.

    Attributes:
        id: Its correlation id.
        status: "open", "done", or how it ended.
        reason: Why it ended early.
        open: How many deliveries are not finished.
        events: How many events it has accepted.
        started: When it began.
        ended: When it ended; None while it is open.
        deadline: When it has to be over; None for never.
    """

    id: str
    status: str
    reason: str
    open: int
    events: int
    started: float
    ended: float | None
    deadline: float | None


@attrs.frozen(kw_only=True)
class Claimed:
    """What a claim took over, with the flows it belongs to.

    Attributes:
        deliveries: In order of arrival.
        flows: Each flow once.
        left: Whether more of the kind asked for is there.
    """

    deliveries: tuple[Stored, ...]
    flows: tuple[StoredFlow, ...]
    left: bool


@attrs.frozen(kw_only=True)
class Fenced:
    """The step was discarded whole: the delivery is not this owner's any more."""


@attrs.frozen(kw_only=True)
class Refused:
    """The step was discarded whole: a row of the user's was in error.

    Attributes:
        error: What the store said.
    """

    error: Exception


@attrs.frozen(kw_only=True)
class Looked:
    """What there is of a flow, or of all of them.

    Attributes:
        flow: The flow; None if it is not known, or all were asked for.
        working: How many open deliveries some owner has.
        free: How many open deliveries nobody has.
    """

    flow: StoredFlow | None
    working: int
    free: int


Answer = Done | Joined | Claimed | Fenced | Refused | Looked


@attrs.frozen(kw_only=True)
class News:
    """What others have changed in the journal. It only wakes: who gets it looks.

    Attributes:
        flows: In which flows something has happened: events came, or the flow is over.
        work: Whether there may be deliveries that nobody has.
    """

    flows: tuple[str, ...] = ()
    work: bool = False


@attrs.frozen(kw_only=True)
class Failure:
    """One failed attempt of a dead letter.

    Attributes:
        time: When.
        attempt: Which; the first is 1.
        error: What the handler raised, in words.
    """

    time: float
    attempt: int
    error: str


@attrs.frozen(kw_only=True)
class DeadLetter:
    """A delivery that ended with its flow's failure.

    Attributes:
        key: Which delivery.
        body: The event, encoded.
        reason: Why the flow failed.
        history: Its own failed attempts; empty if it only waited in that flow.
    """

    key: Key
    body: str
    reason: str
    history: tuple[Failure, ...]


@attrs.frozen(kw_only=True)
class Opened:
    """What an owner finds when it opens the journal.

    Attributes:
        owner: The number of this owner; steps are fenced by it.
        clean: Whether the one before ended in order.
        suspects: How many deliveries are to run alone first.
        open: How many deliveries are open.
        agents: The names of the agents that open deliveries go to.
        kinds: The names of the types of all events of open flows.
        facts: The shared memory, encoded.
    """

    owner: int
    clean: bool
    suspects: int
    open: int
    agents: tuple[str, ...]
    kinds: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]

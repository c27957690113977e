"""Durable sessions: nothing is lost when the process dies.

General layout:

- `_journals`: what users name; `_link`: group commit, over any store; `_clock`: the time
  that is stored; `_bell`: how other processes wake the session that has a file
- stores, which take the steps of ``agentflow._steps``: `_memory` and, on SQLite,
  `_sqlite_store` of `_sqlite_owners`, `_sqlite_steps`, `_sqlite_sits` and `_sqlite_looks`
- how a batch becomes one statement: `_sqlite_batch`, with `_schema` and `_holdings`
- `_tidying`: what need not be kept; `_sqlite_visit`: a file as others than its session see
  it; `_story`: one flow of it
- the session's side is in the kernel: ``agentflow._durable`` and its neighbours

docs/durable.md says what is promised.
"""

from agentflow._durable_calls import (
    DurableDelivery as DurableDelivery,
    once as once,
    this_delivery as this_delivery,
)
from agentflow._steps import (
    DeadLetter as DeadLetter,
    Failure as Failure,
    StoredFlow as StoredFlow,
)
from agentflow.abc import Journal as Journal
from agentflow.journal._journals import (
    MemoryJournal as MemoryJournal,
    SQLiteJournal as SQLiteJournal,
)

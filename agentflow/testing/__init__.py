"""What tests of agents need: sessions that lose nothing, models that follow a script, time.

It works with any test runner, and without one; `agentflow.pytest_plugin` makes fixtures
of it. General layout:

- a session that is judged at its end: `_open`, `_session`, `_verdict`, `_leaks`, `_bare`
- what happened: `_trace`, `_normal` (for snapshots), `_picture` (for people)
- faults on purpose: `_faults`
- time and order: `_virtual`, `_seeds`, `_running`
- models: `_scripted`, `_script` (what they say), `_recording`, `_tape` (the file)
- what a plugin needs: `_case`
"""

from agentflow.testing._faults import (
    Checkpoint as Checkpoint,
    InjectedFault as InjectedFault,
    every_checkpoint as every_checkpoint,
)
from agentflow.testing._open import open_test_session as open_test_session
from agentflow.testing._recording import (
    Record as Record,
    RecordedLLM as RecordedLLM,
    open_recording as open_recording,
)
from agentflow.testing._running import run_virtual as run_virtual
from agentflow.testing._script import Matcher as Matcher, Scripted as Scripted
from agentflow.testing._scripted import (
    Script as Script,
    ScriptedGateway as ScriptedGateway,
)
from agentflow.testing._session import (
    FlowSession as FlowSession,
    SessionSettings as SessionSettings,
)
from agentflow.testing._trace import FlowTrace as FlowTrace
from agentflow.testing._verdict import (
    Checked as Checked,
    FlowCheckFailed as FlowCheckFailed,
)
from agentflow.testing._virtual import (
    Backend as Backend,
    real_time as real_time,
    virtual_backend as virtual_backend,
)

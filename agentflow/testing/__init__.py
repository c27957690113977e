"""What tests of agents need: models that follow a script, and time that does not pass."""

from agentflow.testing._running import run_virtual as run_virtual
from agentflow.testing._scripted import ScriptedGateway as ScriptedGateway
from agentflow.testing._virtual import (
    Backend as Backend,
    real_time as real_time,
    virtual_backend as virtual_backend,
)

"""What tests of agents need: models that follow a script."""

from agentflow.testing._scripted import ScriptedGateway as ScriptedGateway

"""Events as JSON, and read back without loss; a package of its own, as it loads cattrs."""

from agentflow._encoding import EventRegistry as EventRegistry

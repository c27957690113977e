"""The package's public names, each imported when it is first asked for.

Whoever uses the LLM half alone need not wait for the dispatcher. Type checkers read the
imports that ``__init__`` shows them; a test holds the two alike.
"""

from agentflow._lazy import lazily

__getattr__, __dir__, NAMES = lazily(
    "agentflow",
    {
        "_agents": (
            "BaseAgent",
            "BaseAsyncAgent",
        ),
        "_aggregator": ("AsyncAggregatorAgent",),
        "_dispatcher": ("AsyncDispatcher",),
        "_dump": (
            "RunningHandler",
            "RunningTask",
            "SessionDump",
        ),
        "_errors": (
            "AgentFlowError",
            "EncodingError",
            "EventTypeError",
            "FlowBudgetExceeded",
            "FlowCancelled",
            "FlowFailed",
            "FlowStalled",
            "HandlerReturnError",
            "JournalError",
            "JournalInUse",
            "NoResult",
            "QueueFull",
            "RestoredError",
            "RoutingError",
            "SessionError",
            "UsageError",
            "WouldDeadlock",
        ),
        "_events": (
            "AgentFailed",
            "Event",
            "TerminateEvent",
        ),
        "_failure": ("Retry",),
        "_flow": ("Flow",),
        "_frames": ("Place",),
        "_lenient": ("JSON",),
        "_memory": ("SharedWorkingMemory",),
        "_reports": (
            "AgentStatistics",
            "DispatcherStatistics",
            "FlowStatistics",
            "StopReport",
            "Undelivered",
        ),
        "_routing": (
            "Route",
            "Router",
        ),
        "_waiting": ("wait_for",),
    },
)

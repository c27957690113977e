"""How errors name the agent, the event and the flow that they are about."""

from agentflow._ledger import Delivery, FlowState


def no_event(delivery: Delivery, output: object) -> str:
    """Say what a handler returned or yielded instead of an event."""
    return f"{delivery.target.name} returned {output!r} where an event should be"


def add_note(error: Exception, delivery: Delivery) -> None:
    """Note in a handler's exception whose it is."""
    event = delivery.event
    error.add_note(
        f"raised by agent {delivery.target.name!r} while it handled "
        f"{type(event).__name__} {event.id} of flow {event.correlation_id}"
    )


def budget_spent(flow: FlowState) -> str:
    """Say that a flow has accepted all it may."""
    return (
        f"flow {flow.correlation_id} has accepted {flow.events} events, all it may; if "
        "its agents do not run in a circle, raise max_events_per_flow"
    )

"""Raw trio where each flow can be cancelled: a task with a nursery for each flow."""

import trio
import trio.testing

from benchmarks._protocol import Measured
from benchmarks.workloads.chain import Token, first_token
from benchmarks.workloads.memory import WaitingFlows, resident_bytes


class System:
    """Starts a task for each flow, and in its nursery one for each delivery."""

    def waiting(self, work: WaitingFlows) -> Measured:
        """W4."""
        return trio.run(_waiting, work)


async def _waiting(work: WaitingFlows) -> Measured:
    gate = trio.Event()
    scopes: dict[str, trio.CancelScope] = {}
    count = 0

    async def handle(token: Token) -> None:
        nonlocal count
        count += 1
        await gate.wait()
        del token

    async def flow(token: Token) -> None:
        async with trio.open_nursery() as nursery:
            scopes[token.correlation_id] = nursery.cancel_scope
            nursery.start_soon(handle, token)
            nursery.start_soon(handle, token)

    async with trio.open_nursery() as session:
        before = resident_bytes()
        for number in range(work.flows):
            session.start_soon(flow, first_token(number))
        await trio.testing.wait_all_tasks_blocked()
        after = resident_bytes()
        gate.set()
    return Measured(amount=after - before, count=count)

"""Running in virtual time, in an order of one's choice."""

import random
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, strategies as st

from agentflow.testing import Backend, run_virtual
from tests.conftest import BACKENDS

LOOPS = pytest.mark.parametrize("backend", BACKENDS)


def order_of(seed: int | None, backend: Backend) -> str:
    """Return the order in which tasks that can all run do run, three times over."""
    order: list[str] = []

    async def work(name: str) -> None:
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
            order.append(name)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for name in "abcdef":
                tasks.start_soon(work, name)

    run_virtual(main, backend=backend, seed=seed)
    return "".join(order)


@LOOPS
def test_a_seed_brings_the_same_order_back(backend: Backend) -> None:
    """And other seeds bring others."""
    orders = [order_of(seed, backend) for seed in range(10)]
    assert orders == [order_of(seed, backend) for seed in range(10)]
    assert len(set(orders)) > 5


@LOOPS
def test_a_bug_found_by_one_seed_comes_back_with_it(backend: Backend) -> None:
    """Two tasks race, some orders lose an update, and each does so every time."""

    def balance_after(seed: int) -> int:
        account = {"balance": 0}

        async def deposit(spin: int) -> None:
            before = account["balance"]
            for _ in range(spin):
                await anyio.lowlevel.checkpoint()
            account["balance"] = before + 1

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(deposit, 0)
                tasks.start_soon(deposit, 1)

        run_virtual(main, backend=backend, seed=seed)
        return account["balance"]

    found = [balance_after(seed) for seed in range(20)]
    assert set(found) == {1, 2}
    assert found == [balance_after(seed) for seed in range(20)]


@LOOPS
def test_a_failure_names_its_seed(backend: Backend) -> None:
    """As a note, under whatever was raised."""

    async def main() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("found it")

    with pytest.raises(ValueError, match="found it") as caught:
        run_virtual(main, backend=backend, seed=1234)
    assert caught.value.__notes__ == [
        "the tasks ran in the order of seed 1234; that seed brings it back"
    ]


@LOOPS
@given(seed=st.integers(0, 2**32))
def test_hypothesis_may_draw_the_seed(backend: Backend, seed: int) -> None:
    """The random numbers of a run, those of retries say, come of the seed, too."""
    drawn: list[float] = []

    async def main() -> None:
        await anyio.lowlevel.checkpoint()
        drawn.append(random.random())

    before = random.getstate()
    run_virtual(main, backend=backend, seed=seed)
    run_virtual(main, backend=backend, seed=seed)
    assert drawn[0] == drawn[1]
    assert random.getstate() == before


@LOOPS
def test_a_deadlock_fails_at_once(backend: Backend) -> None:
    """Virtual time jumps to the limit when nothing else can happen."""
    with pytest.raises(TimeoutError, match="waits for something that cannot happen"):
        run_virtual(anyio.sleep_forever, backend=backend)


@LOOPS
def test_arguments_are_passed_on(backend: Backend) -> None:
    """As by anyio.run and trio.run."""
    got: list[Any] = []

    async def main(*args: object) -> None:
        await anyio.lowlevel.checkpoint()
        got.extend(args)

    run_virtual(main, 1, "two", backend=backend, limit=1)
    assert got == [1, "two"]


def test_an_unknown_loop_is_refused() -> None:
    """Before anything runs."""
    with pytest.raises(ValueError, match="not 'curio'"):
        run_virtual(anyio.sleep, 0, backend=cast("Any", "curio"))

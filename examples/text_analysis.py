"""The agents of `agentflow demo` in a program of one's own, on either event loop.

::

    python examples/text_analysis.py a_text.txt another.txt
    python examples/text_analysis.py --asyncio a_text.txt
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

from agentflow import AsyncDispatcher
from agentflow.cli import Input, Program
from agentflow.cli.demo import TEXTS, Model, ReportEvent, open_demo


async def read(dispatcher: AsyncDispatcher, program: Program, path: Path) -> None:
    """See one text's flow to its end, and print what came of it."""
    root = program.start(
        Input(name=path.name, text=await anyio.Path(path).read_text("utf-8"))
    )
    report = await dispatcher.run(root, ReportEvent)
    print(f"{path.name}\n{report.lines}\n")


async def main(paths: Sequence[Path]) -> None:
    """Open the model, and let all texts flow through the agents at once."""
    async with (
        open_demo(Model()) as program,
        AsyncDispatcher(program.router) as dispatcher,
        anyio.create_task_group() as tasks,
    ):
        for path in paths:
            tasks.start_soon(read, dispatcher, program, path)


if __name__ == "__main__":
    files = [Path(name) for name in sys.argv[1:] if name != "--asyncio"]
    loop = "asyncio" if "--asyncio" in sys.argv else "trio"
    anyio.run(main, files or TEXTS, backend=loop)

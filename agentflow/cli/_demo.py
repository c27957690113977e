"""`agentflow demo`: several agents read texts with a real model."""

from functools import partial
from pathlib import Path

from agentflow.cli._inputs import read_inputs
from agentflow.cli._running import Settings, run_program
from agentflow.cli.demo import TEXTS, Model, open_demo


def demo(  # noqa: PLR0913 -- each is an option of its own
    *files: str,
    model: Path | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    model_name: str = "smollm2",
    trace: Path | None = None,
    view: bool = False,
    quiet: bool = False,
    traceback: bool = False,
) -> int:
    """Let several agents read texts at the same time, with a real language model.

    Without files they read three that are shipped. The model is SmolLM2 with 135 million
    parameters, which runs on this machine in a child process; no account, key or network
    is needed. The agents are in the module agentflow.cli.demo.

    Ctrl-C and the exit codes are as agentflow run --help has them.

    Args:
        files: Texts in UTF-8, each a flow of its own; "-" for what is piped in.
        model: Another model, in a .gguf file.
        base_url: A server that speaks Chat Completions, such as http://127.0.0.1:8080/v1.
        api_key: The server's key.
        model_name: The server's name for the model.
        trace: Write every record to this file; see agentflow trace.
        view: Serve a page that shows the flows live, until you leave it with Ctrl-C.
        quiet: Show results and errors alone.
        traceback: Show the traceback of each error.

    Returns:
        The exit code; see agentflow run.
    """
    asked = Model(file=model, base_url=base_url, api_key=api_key, name=model_name)
    inputs = read_inputs(files or [str(path) for path in TEXTS])
    settings = Settings(
        jobs=len(inputs), trace=trace, view=view, quiet=quiet, traceback=traceback
    )
    return run_program(partial(open_demo, asked), inputs, settings)

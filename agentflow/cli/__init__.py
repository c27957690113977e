"""The command line: `agentflow --help`, or `python -m agentflow --help`.

General layout:

- what users write for it: `_program`; `demo` is an example
- values and words: `_exits`, `_words`, `_tally`, `_inputs`, `_targets`
- the one door to rich: `_screen`; to cyclopts: `_app`
- running: `_signals`, `_flows`
- a command each: `_run`, `_demo`, `_graph`, `_trace`, `_view`, `_chat`; `_main` calls them

Importing this package needs neither rich nor cyclopts.
"""

from agentflow.cli._program import Input as Input, Program as Program

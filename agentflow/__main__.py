"""`python -m agentflow`: the command line."""

import sys

from agentflow.cli._main import main

if __name__ == "__main__":  # pragma: no branch
    sys.exit(main())

"""`python worker.py MODULE:ATTR…` is `inturn worker MODULE:ATTR…`."""

import sys

from inturn.cli import main

if __name__ == "__main__":
    main(["worker", *sys.argv[1:]])

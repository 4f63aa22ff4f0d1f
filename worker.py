"""`python worker.py MODULE:ATTR…`: the worker, run from a checkout; `inturn worker` is the same."""

from inturn_worker.command import run

if __name__ == "__main__":
    run()

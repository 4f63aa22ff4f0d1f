"""The whole of it in half a minute: `python -m examples.demo`, or `make demo`."""

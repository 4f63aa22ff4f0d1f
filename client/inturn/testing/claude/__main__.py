"""`python -m inturn.testing.claude --port 8099`: the strict Claude server on this machine."""

from __future__ import annotations

import argparse

from inturn.testing.claude.answering import CONTEXT_WINDOW
from inturn.testing.claude.server import serve


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m inturn.testing.claude",
        description="A strict stand-in for the Messages API: point ANTHROPIC_BASE_URL at it, with any API key.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8099, help="the port; 0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--context-window", type=int, default=CONTEXT_WINDOW, help="tokens a request may have (default: %(default)s)"
    )
    parser.add_argument(
        "--min-cache-tokens", type=int, default=0, help="tokens below which nothing is cached (default: %(default)s)"
    )
    given = parser.parse_args()
    serve(given.host, given.port, context_window=given.context_window, min_cache_tokens=given.min_cache_tokens)


if __name__ == "__main__":
    main()

"""A strict Slack on this machine: `async with StrictSlack(hook_url) as slack`; needs `inturn[testing,slack]`."""

from inturn.testing.slack.server import StrictSlack

__all__ = ["StrictSlack"]

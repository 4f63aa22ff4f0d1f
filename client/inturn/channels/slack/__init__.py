"""Slack: messages and mentions, commands, buttons; answers in their threads. See docs/slack.md.

from inturn.channels.slack import Slack

slack = Slack(os.environ["SLACK_SIGNING_SECRET"], os.environ["SLACK_BOT_TOKEN"], approvers=["U7"])
"""

from inturn.channels.slack.channel import Slack

__all__ = ["Slack"]

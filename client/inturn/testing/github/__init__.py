"""A strict GitHub on this machine; needs `inturn[testing,github]`.

async with StrictGitHub(hook_url) as github: ...
"""

from inturn.testing.github.server import StrictGitHub

__all__ = ["StrictGitHub"]

"""The strict Claude as tests use it: the real Anthropic SDK in front, and waits for what it sees."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from inturn.testing import StrictClaude
from inturn_activities.model.claude import Claude
from tests.support.waiting import until


class ClaudeRig(StrictClaude):
    """A strict Claude, with the provider that workers use."""

    @property
    def model(self) -> Claude:
        """The provider: the real Anthropic SDK, pointed here."""
        return Claude(api_key="test", base_url=self.url)

    async def until_streaming(self, text: str, *, within: float = 30.0) -> None:
        """Wait until a request whose last user text holds `text` is being answered."""

        async def streaming() -> bool:
            return any(text in e.text and e.outcome == "open" for e in self.requests)

        await until(streaming, within=within, every=0.02)

    async def until_closed(self, text: str, *, within: float = 30.0) -> None:
        """Wait until no request whose last user text holds `text` is open."""

        async def closed() -> bool:
            return not any(text in e.text and e.outcome == "open" for e in self.requests)

        await until(closed, within=within, every=0.02)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[StrictClaude]:
    """A strict server."""
    async with StrictClaude() as made:
        yield made


@pytest_asyncio.fixture
async def claude(server: StrictClaude) -> AsyncIterator[Claude]:
    """The provider, pointed at it."""
    made = Claude(api_key="test", base_url=server.url)
    yield made
    await made.aclose()

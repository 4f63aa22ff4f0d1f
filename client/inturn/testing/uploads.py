"""Uploads of a test: what `Client.upload` keeps in the journal, in memory.

Invariant: what they are shown as is judged by the journal's own rules.
"""

from __future__ import annotations

from inturn.testing.memory import Memory
from inturn.turns.media import check_upload


class Uploads:
    """What the content of `run` and its tools' results may refer to.

    ```python
    uploads = Uploads()
    ref = await uploads.upload(pdf, "application/pdf")
    shown = {"type": "document", "source": {"type": "inturn", "ref": ref}}
    turn = await run(agent, [shown], script=["It is paid."], uploads=uploads)
    ```

    Attributes:
        memory: Where they are.
    """

    def __init__(self, tenant: str = "test") -> None:
        """Keep nothing yet; `tenant`: whose turns may refer to it."""
        self.memory = Memory()
        self._tenant = tenant

    async def upload(self, data: bytes, media_type: str) -> str:
        """Keep bytes, and return their reference; as `Client.upload`.

        Raises:
            InvalidEvent: There is nothing in it, or too much, or the media type is none.
        """
        checked, journal = check_upload(data, media_type), await self.memory()
        return await journal.put_upload(self._tenant, checked, media_type)

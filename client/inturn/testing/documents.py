"""What an agent remembers, for tests: documents in memory.

Invariant: they are the journal's own rules, so what a test sees is what a worker does.
"""

from __future__ import annotations

from inturn.agents import Agent
from inturn.testing.memory import Memory
from inturn.turns.documents import check_document, told_of_conflicts
from inturn.turns.memory import Shown, frozen, system_of


class Documents:
    """The documents of a test's tenant.

    Attributes:
        system: The system prompt of a session that began with them.
    """

    def __init__(self, memory: Memory, tenant: str, texts: dict[str, str] | None) -> None:
        """Keep a test's own texts, by their names; what is remembered is written there."""
        self._memory = memory
        self._tenant = tenant
        self._texts = {} if texts is None else texts
        self.system = ""

    async def show(self, agent: Agent) -> None:
        """Have a session of an agent begin now."""
        self.system = agent.instructions
        if not agent.memory:
            return
        journal = await self._memory()
        for name, text in self._texts.items():
            await journal.put_document(self._tenant, name, text)
        shown = Shown.of(await journal.listed_documents(self._tenant, agent.memory))
        documents = await journal.documents(self._tenant, [each.name for each in shown.kept])
        self.system = system_of({"system": agent.instructions, "memory": frozen(documents, shown.left)})

    async def remember(self, name: str, text: str, version: int) -> int:
        """Write a document at the version that its writer knows."""
        check_document(name, text)
        journal = await self._memory()
        with told_of_conflicts():
            made = await journal.put_document(self._tenant, name, text, version=version)
        self._texts[name] = made.text
        return made.version

"""What a step asks for before it pays, and what it is answered.

Invariant: values only. Amounts are whole nanodollars.
"""

from __future__ import annotations

from dataclasses import dataclass

from inturn.models.prices import Price


@dataclass(frozen=True, slots=True)
class Cap:
    """The most that may be spent in a day (UTC): of a tenant, or on a model by all of them together.

    Attributes:
        scope: The tenant; empty for what all share.
        resource: The model; empty for all of the tenant's.
    """

    scope: str
    resource: str
    nanos: int

    def __str__(self) -> str:
        """Return it in words, for people."""
        return f"today's dollars {f'for model {self.resource}' if self.resource else f'of tenant {self.scope}'}"


@dataclass(frozen=True, slots=True)
class Paying:
    """A request that is to be paid for.

    Attributes:
        price: Of its model.
        max_tokens: The longest answer that is asked for.
        window: Tokens that a prompt has at most.
        caps: What may be spent.
    """

    price: Price
    max_tokens: int
    window: int
    caps: tuple[Cap, ...] = ()


@dataclass(frozen=True, slots=True)
class Reserved:
    """Money that is set aside for a request until it is known what that cost.

    Attributes:
        max_tokens: The longest answer that it is enough for; 0: it is for none, and nothing was set aside.
    """

    max_tokens: int
    nanos: int = 0

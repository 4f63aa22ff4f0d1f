"""All triggers."""

from __future__ import annotations

from typing import Final

from tests.triggers import bytes_and_books, small_ones, the_model, the_model_side, users_code
from tests.triggers.trigger import Trigger

TRIGGERS: Final[tuple[Trigger, ...]] = (
    *bytes_and_books.TRIGGERS,
    *the_model.TRIGGERS,
    *users_code.TRIGGERS,
    *small_ones.TRIGGERS,
    *the_model_side.TRIGGERS,
)

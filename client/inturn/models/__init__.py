"""Models: the port that a provider fills, and the scripted model that answers where there is no key."""

from inturn.models.model import CompactingModel, DeltaKind, Model, ModelMessage, ModelRequest, OnDelta, provider_of
from inturn.models.settings import ModelSettings

__all__ = [
    "CompactingModel",
    "DeltaKind",
    "Model",
    "ModelMessage",
    "ModelRequest",
    "ModelSettings",
    "OnDelta",
    "provider_of",
]

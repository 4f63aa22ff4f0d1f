"""Models: the port that a provider fills, and the scripted model that answers where there is no key."""

from inturn.models.model import Model, ModelMessage, ModelRequest, OnText

__all__ = ["Model", "ModelMessage", "ModelRequest", "OnText"]

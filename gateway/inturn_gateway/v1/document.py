"""The OpenAPI document, with the one form that every refusal has.

Invariant: each status that a route can answer stands in it.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "error"],
    "properties": {
        "type": {"type": "string", "description": "urn:inturn:error:…"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "retry_after": {"type": "number", "description": "Seconds after which the same makes sense again."},
        "event_id": {"type": "string"},
        "index": {"type": "integer", "description": "The first event of the request that was refused."},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
    },
}
_REFUSALS: Final = ("400", "401", "403", "404", "408", "409", "410", "413", "421", "422", "429", "503")
_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a JWT of the configured issuer."},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_OPEN: Final = ("/livez", "/readyz", "/v1/openapi.json")


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application's routes, which is made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _made(app)
    return app.openapi_schema


def _made(app: FastAPI) -> dict[str, Any]:
    made: dict[str, Any] = get_openapi(title=app.title, version=app.version, routes=app.routes)
    parts = made.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = _PROBLEM
    parts["securitySchemes"] = _SCHEMES
    refusal = {
        "description": "Refused",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for path, item in made["paths"].items():
        for method, operation in item.items():
            if path in _OPEN:
                continue
            statuses = (*_REFUSALS, "415") if method in ("post", "put") else _REFUSALS
            operation["responses"] |= dict.fromkeys(statuses, refusal)
            operation["security"] = [{"bearer": []}, {"key": []}]
    return made

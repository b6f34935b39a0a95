"""Make docs/openapi.json and import-progress.d.ts from `django_import_progress.Representation`.

Usage: schemas.py
"""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from django_import_progress import Representation

ROOT = Path(__file__).resolve().parents[1]
OPENAPI = ROOT / "docs" / "openapi.json"
TYPESCRIPT = ROOT / "django_import_progress/static/django_import_progress/import-progress.d.ts"

JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}
TS_TYPES = {str: "string", bool: "boolean", int: "number", float: "number"}
NULL = type(None)


def fields(of: Any = Representation) -> list[tuple[str, Any, str, bool]]:
    """Return the name, type and description of each field, and whether it is always there."""
    hints = get_type_hints(of, include_extras=True)
    found = []
    for name, hint in hints.items():
        kind, text = get_args(hint)
        found.append((name, kind, text, name in of.__required_keys__))
    return found


def alternatives(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def schema_of(kind: Any) -> dict[str, Any]:
    """Return the JSON Schema of a field's type."""
    first, *null = alternatives(kind)
    if get_origin(first) is Literal:
        return {"enum": [*get_args(first), *(None for _ in null)]}
    if is_typeddict(first):
        members = {
            name: {**schema_of(inner), "description": text}
            for name, inner, text, _ in fields(first)
        }
        names = ["object", *("null" for _ in null)]
        return {"type": names, "properties": members, "required": list(members)}
    name = JSON_TYPES[first]
    return {"type": [name, "null"] if null else name}


def typescript_of(kind: Any) -> str:
    """Return the TypeScript type of a field's type."""
    first, *null = alternatives(kind)
    if get_origin(first) is Literal:
        names = [json.dumps(value) for value in get_args(first)]
    elif is_typeddict(first):
        members = [f"{name}: {typescript_of(inner)}" for name, inner, _, _ in fields(first)]
        names = [f"{{ {'; '.join(members)} }}"]
    else:
        names = [TS_TYPES[first]]
    return " | ".join([*names, *("null" for _ in null)])


def response(text: str, media: str = "", schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a response of the OpenAPI document."""
    return {"description": text} | ({"content": {media: {"schema": schema}}} if media else {})


def openapi() -> str:
    """Return the OpenAPI document: https://spec.openapis.org/oas/v3.1.0."""
    job = {"$ref": "#/components/schemas/Representation"}
    error = {"$ref": "#/components/schemas/Error"}
    text = {"type": "string"}
    absent = response("No such job, or not yours to see.", "application/json", error)
    away = response("Redis is unavailable; see Retry-After.", "application/json", error)
    full = response("Too many streams; see Retry-After.", "application/json", error)
    in_path = {
        "name": "job",
        "in": "path",
        "required": True,
        "description": "The id of a job, or a ticket.",
        "schema": text,
    }
    in_query = {
        "name": "job",
        "in": "query",
        "required": True,
        "description": "Up to 100 ids or tickets.",
        "schema": {"type": "array", "items": text, "minItems": 1, "maxItems": 100},
    }
    stream = {
        "200": response("Server-sent events; each `data:` of a message is a job.", *_events()),
        "204": response("Nothing has happened since the end that Last-Event-ID names."),
        "404": absent,
        "429": full,
        "503": away,
    }
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "django-import-progress",
            "version": "1",
            "description": "The paths are relative to where the project includes the URLs.",
        },
        "servers": [{"url": "/progress"}],
        "paths": {
            "/jobs/{job}/": {
                "parameters": [in_path],
                "get": {
                    "operationId": "snapshot",
                    "summary": "The current state of a job.",
                    "responses": {
                        "200": response("The job.", "application/json", job),
                        "304": response("Not modified since the ETag in If-None-Match."),
                        "404": absent,
                        "503": away,
                    },
                },
            },
            "/jobs/{job}/stream/": {
                "parameters": [in_path],
                "get": {
                    "operationId": "stream",
                    "summary": "The states of a job, until it ends.",
                    "responses": stream,
                },
            },
            "/stream/": {
                "parameters": [in_query],
                "get": {
                    "operationId": "streams",
                    "summary": "The states of several jobs, until all have ended.",
                    "responses": {
                        **stream,
                        "400": response("No job, or too many.", "application/json", error),
                    },
                },
            },
            "/jobs/{job}/cancel/": {
                "parameters": [in_path],
                "post": {
                    "operationId": "cancel",
                    "summary": "Request the cancellation of a job.",
                    "responses": {
                        "202": response("Requested.", "application/json", job),
                        "404": absent,
                        "409": response("The job has ended.", "application/json", error),
                        "503": away,
                    },
                },
            },
            "/jobs/{job}/rejects/": {
                "parameters": [in_path],
                "get": {
                    "operationId": "rejects",
                    "summary": "The rejected rows of a job.",
                    "responses": {
                        "200": response("A CSV file.", "text/csv", text),
                        "404": absent,
                        "503": away,
                    },
                },
            },
        },
        "components": {
            "schemas": {
                "Representation": {
                    "type": "object",
                    "description": "A job. Fields of the user's own travel along.",
                    "properties": {
                        name: {**schema_of(kind), "description": text}
                        for name, kind, text, _ in fields()
                    },
                    "required": [name for name, *_, is_required in fields() if is_required],
                },
                "Error": {
                    "type": "object",
                    "properties": {"error": text},
                    "required": ["error"],
                },
            }
        },
    }
    return json.dumps(document, indent=1) + "\n"


def _events() -> tuple[str, dict[str, Any]]:
    return "text/event-stream", {"type": "string"}


def typescript() -> str:
    """Return the declarations for TypeScript."""
    lines = [
        "// Types of what import-progress.js and the endpoints pass on. Generated: do not edit.",
        "",
        "/** A job. Fields of your own travel along. */",
        "export interface Representation {",
    ]
    for name, kind, text, is_required in fields():
        lines.append(f"  /** {text} */")
        lines.append(f"  {name}{'' if is_required else '?'}: {typescript_of(kind)};")
    return "\n".join(
        [
            *lines,
            "  [field: string]: unknown;",
            "}",
            "",
            "declare global {",
            "  interface HTMLElementEventMap {",
            '    "import-progress:change": CustomEvent<Representation>;',
            "    /** `initial` is true for a bar that was rendered as ended. */",
            '    "import-progress:end": CustomEvent<Representation & { initial?: boolean }>;',
            "  }",
            "}",
            "",
        ]
    )


if __name__ == "__main__":
    OPENAPI.write_text(openapi(), encoding="utf-8")
    TYPESCRIPT.write_text(typescript(), encoding="utf-8")

"""A request for an answer in JSON → the field that holds a server to a schema, or words that ask for it.

The field is that of chat completions, ``response_format``; it stands among the options of a request, and each wire
has its own for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .request import Request
from .wire_json import as_list, as_object, as_text, dumps, is_list, is_object

FIELD = "response_format"

_JSON = "Answer with JSON alone: one value, without any other text and without a code fence."
_FITTING = " It has to be valid against this JSON Schema:\n"

# What a strict schema may hold: the common part of what servers with constrained decoding document.
_STRICT = {
    *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref"),
    *(
        "$defs",
        "definitions",
        "title",
        "description",
        "pattern",
        "format",
        "multipleOf",
        "minimum",
        "maximum",
    ),
    *("exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"),
}
_BOUNDS = {
    *("pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems"),
    *("maxItems", "minLength", "maxLength", "uniqueItems", "minProperties", "maxProperties"),
}
_REMARKS = {"default", "examples", "$schema", "$id", "$comment", "deprecated", "readOnly", "writeOnly"}
_REFUSED = re.compile(
    r"response_format|json_schema|json_object|output_config|output_format|text\.format|schema|grammar"
)


def response_format(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The field for a schema; strict where the schema can be made so without letting more through."""
    strict = closed(schema)
    held: Mapping[str, Any] = schema if strict is None else strict
    named = re.sub(r"[^\w-]", "_", name, flags=re.A)[:64] or "answer"
    return {
        "type": "json_schema",
        "json_schema": {"name": named, "schema": dict(held), "strict": strict is not None},
    }


def schema_in(request: Request) -> dict[str, Any] | None:
    """The schema that an answer has to fit; None where any text will do, or any JSON."""
    wanted = as_object(request.options.get(FIELD))
    schema = as_object(wanted.get("json_schema")).get("schema")
    return schema if wanted.get("type") == "json_schema" and is_object(schema) else None


def without_field(request: Request) -> Request:
    """The request, asking for nothing but text."""
    return replace(request, options={name: one for name, one in request.options.items() if name != FIELD})


def in_words(request: Request) -> Request:
    """The request with the field put into words, at the end of the system prompt."""
    schema, kind = schema_in(request), as_object(request.options.get(FIELD)).get("type")
    if FIELD not in request.options or kind not in ("json_schema", "json_object"):
        return without_field(request)
    words = _JSON if schema is None else _JSON + _FITTING + dumps(schema)
    return without_field(replace(request, system="\n\n".join(filter(None, [request.system, words]))))


def as_any_json(request: Request) -> Request:
    """The request for servers that can be held to JSON, but not to a schema: that is put into words."""
    if schema_in(request) is None:
        return request
    asked = in_words(request)
    return replace(asked, options={**asked.options, FIELD: {"type": "json_object"}})


def is_refused(request: Request, said: str) -> bool:
    """Whether a refusal in these words may be about the field."""
    return FIELD in request.options and _REFUSED.search(said.lower()) is not None


def closed(schema: Mapping[str, Any], *, bounded: bool = True) -> dict[str, Any] | None:
    """The schema with all fields of its objects required and no others allowed; None where that cannot be.

    What fits it fits the schema too, but for the bounds of numbers, texts and lists, which are left out unless
    `bounded`. None for an object with fields of any name, and for words that strict servers do not take.
    """
    try:
        found = _closed(_with_root(schema), bounded)
    except _Open:
        return None
    return found if found.get("type") == "object" else None


def _with_root(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its root in place, where it only refers to one: servers want to see an object first."""
    place, _, name = as_text(schema.get("$ref")).rpartition("/")
    root = as_object(as_object(schema.get(place.removeprefix("#/"))).get(name))
    kept = {key: value for key, value in schema.items() if key != "$ref"} if root else schema
    return {**kept, **root}


class _Open(Exception):
    """A schema cannot be closed."""


def _closed(schema: object, bounded: bool) -> dict[str, Any]:
    if not is_object(schema):
        raise _Open
    left_out = _REMARKS if bounded else _REMARKS | _BOUNDS
    kept = {name: value for name, value in schema.items() if name not in left_out}
    if set(kept) - _STRICT or ("$ref" in kept and not as_text(kept["$ref"]).startswith("#")):
        raise _Open
    for name in ("$defs", "definitions", "properties"):
        if name in kept:
            inner = as_object(kept[name]).items()
            kept[name] = {key: _closed(value, bounded) for key, value in inner}
    if "items" in kept:
        kept["items"] = _closed(kept["items"], bounded)
    if "anyOf" in kept:
        kept["anyOf"] = [_closed(one, bounded) for one in as_list(kept["anyOf"])]
    if _is_of_object(kept):
        kept.update(_shut(kept))
    return kept


def _is_of_object(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "object" or (is_list(kind) and "object" in kind) or "properties" in schema


def _shut(schema: dict[str, Any]) -> dict[str, Any]:
    """What shuts an object: all of its fields, and no others."""
    fields = as_object(schema.get("properties"))
    if not fields or schema.get("additionalProperties", False) is not False:
        raise _Open
    return {"required": list(fields), "additionalProperties": False}


__all__ = [
    "FIELD",
    "as_any_json",
    "closed",
    "in_words",
    "is_refused",
    "response_format",
    "schema_in",
    "without_field",
]

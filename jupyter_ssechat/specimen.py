"""A JSON Schema → a small value that fits it, the same for the same seed: what the demo model answers with.

Made from types, fields, items, choices, bounds and formats. Rules that only a search could satisfy, such as an odd
pattern or `not`, may be missed: then the value does not fit, and whoever validates it says so.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from math import ceil, floor
from typing import Any

from .wire_json import as_list, as_object, as_text, is_list, is_object

DEEPEST = 5
LONGEST_LIST = 100

_FORMATS = {
    "date": "2024-02-29",
    "date-time": "2024-02-29T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "demo@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_TRIES = [
    "a",
    "A",
    "1",
    "abc",
    "ABC",
    "123",
    "12345",
    "A1",
    "a-1",
    "AB-123",
    "1.0",
    "#00ff00",
    *_FORMATS.values(),
]


def specimen(schema: Mapping[str, Any], seed: int = 0) -> Any:
    """A value that fits; numbers and choices are drawn from the seed."""
    return _Maker(dict(schema), random.Random(seed)).make(dict(schema), "value", 0)


class _Maker:
    def __init__(self, root: dict[str, Any], chance: random.Random) -> None:
        self._root = root
        self._chance = chance

    def make(self, schema: object, name: str, depth: int) -> Any:
        """A value for one schema; `name` is that of its field."""
        if not is_object(schema):
            return name
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if choices := as_list(schema.get("enum")):
            return self._chance.choice(choices)
        for way in ("anyOf", "oneOf"):
            if ways := as_list(schema.get(way)):
                rest = {key: value for key, value in schema.items() if key != way}
                return self.make(_merged(rest, self._resolved(self._way(ways, depth))), name, depth)
        return self._of_kind(_kind(schema), schema, name, depth)

    def _of_kind(self, kind: str, schema: dict[str, Any], name: str, depth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer" | "number":
                return self._number(schema, whole=kind == "integer")
            case "boolean":
                return self._chance.random() < 0.5
            case "null":
                return None
            case _:
                return _text(schema, name)

    def _resolved(self, schema: object) -> dict[str, Any]:
        """The schema with what it refers to, and with all of `allOf`, in one."""
        found, seen = as_object(schema), 0
        while (reference := as_text(found.get("$ref"))).startswith("#") and seen < LONGEST_LIST:
            rest = {key: value for key, value in found.items() if key != "$ref"}
            found, seen = _merged(self._at(reference), rest), seen + 1
        for one in as_list(found.get("allOf")):
            found = _merged(
                {key: value for key, value in found.items() if key != "allOf"}, self._resolved(one)
            )
        return found

    def _at(self, reference: str) -> dict[str, Any]:
        place: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            place = as_object(place).get(step.replace("~1", "/").replace("~0", "~"))
        return as_object(place)

    def _way(self, ways: list[Any], depth: int) -> Any:
        """The first way; far down one that ends."""
        if depth < DEEPEST:
            return ways[0]
        return next((one for one in ways if _kind(self._resolved(one)) not in ("object", "array")), ways[0])

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        fields, required = as_object(schema.get("properties")), as_list(schema.get("required"))
        names = [name for name in fields if depth < DEEPEST or name in required]
        made = {name: self.make(fields[name], name, depth + 1) for name in names}
        others = schema.get("additionalProperties", {})
        unnamed = [name for name in required if name not in made]
        if not fields and is_object(others) and others and depth < DEEPEST:
            unnamed += ["key 1", "key 2"]
        lacking = _count(schema, "minProperties") - len(made) - len(unnamed)
        unnamed += [f"key {number}" for number in range(3, 3 + lacking)]
        return made | {name: self.make(others, name, depth + 1) for name in unnamed}

    def _array(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        first = as_list(schema.get("prefixItems"))
        least = _count(schema, "minItems")
        wanted = least if depth >= DEEPEST else max(least, min(2, _count(schema, "maxItems", 2)))
        made = [self.make(one, name, depth + 1) for one in first]
        items = schema.get("items", {})
        numbers = range(len(made) + 1, min(wanted, LONGEST_LIST) + 1 if items is not False else 0)
        return made + [self.make(items, f"{_singular(name)} {number}", depth + 1) for number in numbers]

    def _number(self, schema: dict[str, Any], *, whole: bool) -> int | float:
        step = schema.get("multipleOf") or (1 if whole else 0.5)
        least = _bound(schema, "minimum", "exclusiveMinimum", step)
        most = _bound(schema, "maximum", "exclusiveMaximum", -step)
        least = (1 if most is None else most - 99 * step) if least is None else least
        most = least + 99 * step if most is None else most
        first, last = ceil(least / step), floor(most / step)
        if first > last:
            return least if not whole else ceil(least)
        number = self._chance.randint(first, last) * step
        return int(number) if whole else float(number)


def _bound(schema: dict[str, Any], name: str, exclusive: str, step: float) -> float | None:
    if isinstance(bound := schema.get(exclusive), int | float) and not isinstance(bound, bool):
        return bound + step
    bound = schema.get(name)
    return bound if isinstance(bound, int | float) else None


def _text(schema: dict[str, Any], name: str) -> str:
    least, most = _count(schema, "minLength"), _count(schema, "maxLength", 10_000)
    known = [one for one in [*as_list(schema.get("examples")), schema.get("default")] if isinstance(one, str)]
    tries = [*known, *filter(None, [_FORMATS.get(as_text(schema.get("format")))]), f"demo {name}", *_TRIES]
    pattern = as_text(schema.get("pattern"))
    fitting = [one for one in tries if least <= len(one) <= most and _matches(pattern, one)]
    return fitting[0] if fitting else f"demo {name}".ljust(least, ".")[:most]


def _matches(pattern: str, text: str) -> bool:
    try:
        return not pattern or re.search(pattern, text) is not None
    except re.error:
        return False


def _kind(schema: dict[str, Any]) -> str:
    """The type, or what the other words tell of it; of several the first that is not null."""
    kind = schema.get("type")
    if is_list(kind):
        return next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    if schema.keys() & {"properties", "required", "additionalProperties"}:
        return "object"
    if schema.keys() & {"items", "prefixItems"}:
        return "array"
    return "number" if schema.keys() & {"minimum", "maximum", "multipleOf"} else "string"


def _merged(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Both in one: fields of both objects, and what both require."""
    merged = {**older, **newer}
    if "properties" in older and "properties" in newer:
        merged["properties"] = {**as_object(older["properties"]), **as_object(newer["properties"])}
    if "required" in older and "required" in newer:
        merged["required"] = [*as_list(older["required"]), *as_list(newer["required"])]
    return merged


def _count(schema: dict[str, Any], name: str, otherwise: int = 0) -> int:
    count = schema.get(name)
    return count if isinstance(count, int) else otherwise


def _singular(name: str) -> str:
    return name.removesuffix("ies") + "y" if name.endswith("ies") else name.removesuffix("s")


__all__ = ["specimen"]

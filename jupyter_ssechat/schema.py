"""A model class, a JSON Schema or a file → what an answer has to fit: the one door to jsonschema and pydantic."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

from .errors import AnswerFailed, BadInput, InvalidData
from .expression import evaluated
from .partial_json import whole_value
from .response_format import response_format
from .wire_json import excerpt, is_list, is_object

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


class Schema:
    """What an answer has to fit, and what becomes of one that does."""

    name = "answer"
    json_schema: dict[str, Any]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def response_format(self) -> dict[str, Any]:
        """The field of a request that asks for it, as chat completions have it."""
        return response_format(self.name, self.json_schema)

    def read(self, text: str) -> Any:
        """The data of a whole answer; raises AnswerFailed, one line: where, what was expected, what stands there."""
        try:
            value, spelt = whole_value(text)
        except InvalidData as error:
            raise AnswerFailed(str(error)) from None
        return self._checked(value, spelt)

    def _checked(self, value: Any, spelt: str) -> Any:
        raise NotImplementedError

    def _misfit(self, path: list[str | int], said: str) -> AnswerFailed:
        where = f"at {_path(path)}: " if path else ""
        return AnswerFailed(f"the answer does not fit {self.name}: {where}{excerpt(said, 300)}")


class DictSchema(Schema):
    """A JSON Schema, draft 2020-12 if it does not say another; its data are plain values."""

    def __init__(self, json_schema: Mapping[str, Any]) -> None:
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import validator_for

        self.json_schema = dict(json_schema)
        self.name = excerpt(str(self.json_schema.get("title") or "answer"))
        try:
            json.dumps(self.json_schema, allow_nan=False)  # for it goes over the wire
            kind: Any = validator_for({"$schema": _DRAFT, **self.json_schema})
            kind.check_schema(self.json_schema)
            missing = next(_references_to_nothing(self.json_schema, self.json_schema), None)
        except SchemaError as error:
            said = f"at {_path([*error.absolute_path])}: {error.message}" if error.path else error.message
            raise BadInput(f"this is not a JSON Schema: {excerpt(said, 300)}") from None
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise BadInput(f"this is not a JSON Schema: {excerpt(str(error), 300)}") from None
        if missing is not None:
            raise BadInput(f"the JSON Schema refers to {missing}, which is not in it; put it into its $defs")
        self._validator: Any = kind(self.json_schema)

    def _checked(self, value: Any, spelt: str) -> Any:
        from jsonschema import exceptions

        try:
            fault = cast("Any", exceptions).best_match(self._validator.iter_errors(value))
        except Exception as error:  # such as a reference that leads back to itself
            raise AnswerFailed(
                f"the answer cannot be checked by the JSON Schema: {type(error).__name__}: {excerpt(str(error))}"
            ) from None
        if fault is not None:
            raise self._misfit([*fault.absolute_path], fault.message)
        return value


class ModelSchema(Schema):
    """What pydantic can read: a model class, a dataclass, a TypedDict, ``list[Model]``; its data are such objects."""

    def __init__(self, kind: Any) -> None:
        self.name = excerpt(str(getattr(kind, "__name__", "") or kind))
        self._adapter = _adapter(kind)
        try:
            self.json_schema = self._adapter.json_schema()
        except Exception as error:
            raise BadInput(f"{self.name} has no JSON Schema: {excerpt(str(error), 300)}") from None

    def _checked(self, value: Any, spelt: str) -> Any:
        from pydantic import ValidationError

        try:
            return self._adapter.validate_json(spelt)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            given = "" if first["type"] == "missing" else f", got {excerpt(repr(first['input']))}"
            raise self._misfit([*first["loc"]], first["msg"] + given) from None


def schema_of(wanted: object) -> Schema:
    """The schema that somebody means by a class, a dict, the path of a file, or JSON text; a Schema is one already.

    Raises BadInput, one line, for what is none.
    """
    if isinstance(wanted, Schema):
        return wanted
    if is_object(wanted):
        return DictSchema(wanted)
    if isinstance(wanted, Path):
        return _from_file(wanted)
    if isinstance(wanted, str):
        return (
            _from_text(wanted, "the schema") if wanted.lstrip().startswith("{") else _from_file(Path(wanted))
        )
    return ModelSchema(wanted)


def named_schema(name: str, namespace: dict[str, Any]) -> Schema:
    """The schema that is named in an option: a variable, an expression such as ``list[City]``, or a file."""
    if name.lstrip().startswith("{") or name.endswith(".json"):
        return schema_of(name)
    try:
        return schema_of(evaluated(name, namespace))
    except BadInput as error:
        raise BadInput(f"--json {name}: {error}") from None


def _from_file(path: Path) -> DictSchema:
    try:
        if not stat.S_ISREG(path.expanduser().stat().st_mode):
            raise BadInput(f"the schema {path} is no file; expected JSON")
        return _from_text(path.expanduser().read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is not UTF-8"
        raise BadInput(f"the schema {path} cannot be read: {said}") from None


def _from_text(text: str, name: str) -> DictSchema:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{name} is not JSON: {error}") from None
    if not is_object(value):
        raise BadInput(f"{name} is not a JSON Schema; expected an object")
    return DictSchema(value)


def _adapter(kind: Any) -> Any:
    try:
        from pydantic import PydanticUserError, TypeAdapter
    except ImportError:
        raise BadInput(
            f"{excerpt(repr(kind))} is no JSON Schema; a class needs pydantic 2 (pip install pydantic)"
        ) from None
    if isinstance(kind, TypeAdapter):
        return cast("Any", kind)
    if not _is_type(kind):
        raise BadInput(
            f"{excerpt(repr(kind))} is no schema; expected a pydantic model, a dataclass, a TypedDict,"
            " a dict with a JSON Schema, or a file"
        )
    try:
        return TypeAdapter(kind)
    except (PydanticUserError, TypeError, NameError) as error:
        raise BadInput(f"{excerpt(repr(kind))} is no schema: {excerpt(str(error), 300)}") from None


def _is_type(kind: Any) -> bool:
    return isinstance(kind, type) or hasattr(kind, "__origin__") or hasattr(kind, "__args__")


def _path(parts: list[str | int]) -> str:
    """``cities[0].name``"""
    return "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in parts).lstrip(".")


def _references_to_nothing(value: object, root: dict[str, Any]) -> Iterator[str]:
    """References that lead out of the schema, for which nothing is fetched, or to a place that it does not have."""
    if is_object(value):
        reference = value.get("$ref")
        if isinstance(reference, str) and not _leads_somewhere(reference, root):
            yield reference
    inner = value.values() if is_object(value) else value if is_list(value) else ()
    for one in inner:
        yield from _references_to_nothing(one, root)


def _leads_somewhere(reference: str, root: dict[str, Any]) -> bool:
    if not reference.startswith("#/"):
        return reference.startswith("#")  # an anchor is looked for where it is needed
    at: object = root
    for step in unquote(reference).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if is_list(at) and name.isdecimal() and int(name) < len(at):
            at = at[int(name)]
        elif is_object(at) and name in at:
            at = at[name]
        else:
            return False
    return True


__all__ = ["Schema", "named_schema", "schema_of"]

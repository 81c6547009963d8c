"""Schemas: what may be asked for, and how an answer that does not fit is told."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter
from typing_extensions import TypedDict

from jupyter_ssechat.errors import AnswerFailed, BadInput
from jupyter_ssechat.schema import named_schema, schema_of


class City(BaseModel):
    name: str
    people: int
    founded: date | None = None


class Cities(BaseModel):
    cities: list[City]


@dataclass
class Point:
    x: int
    y: int


class Named(TypedDict):
    name: str


class Plain:
    pass


SCHEMA: dict[str, Any] = {
    "title": "City",
    "type": "object",
    "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["name"],
}


NOT_A_NUMBER = (
    "the answer does not fit Cities: at cities[0].people: Input should be a valid integer, unable to parse"
    " string as an integer, got 'many'"
)


def refusal(call: Callable[[], Any], kind: type[Exception] = BadInput) -> str:
    with pytest.raises(kind) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- what becomes of an answer ----


def test_an_answer_becomes_what_was_asked_for() -> None:
    assert schema_of(City).read('{"name": "Ulm", "people": 3, "founded": "0854-07-22"}') == City(
        name="Ulm", people=3, founded=date(854, 7, 22)
    )
    assert schema_of(list[City]).read('[{"name": "Ulm", "people": 3}]') == [City(name="Ulm", people=3)]
    assert schema_of(Point).read('{"x": 1, "y": 2}') == Point(1, 2)
    assert schema_of(Named).read('{"name": "Ulm"}') == {"name": "Ulm"}
    assert schema_of(TypeAdapter(list[int])).read("[1]") == [1]
    assert schema_of(SCHEMA).read('```json\n{"name": "Ulm", "extra": 1}\n```') == {"name": "Ulm", "extra": 1}


def test_a_file_may_hold_the_schema(tmp_path: Path) -> None:
    file = tmp_path / "city.json"
    file.write_text(json.dumps(SCHEMA))
    assert schema_of(file).json_schema == schema_of(str(file)).json_schema == SCHEMA
    assert schema_of(json.dumps(SCHEMA)).json_schema == SCHEMA


def test_a_schema_has_the_name_of_its_class_or_title() -> None:
    names = [schema_of(one).name for one in (City, SCHEMA, {"type": "object"}, list[City])]
    assert names == ["City", "City", "answer", "list"]
    schema = schema_of(City)
    assert schema_of(schema) is schema and schema.response_format["json_schema"]["strict"] is True


@pytest.mark.parametrize(
    ("wanted", "text", "said"),
    [
        (
            Cities,
            '{"cities": [{"name": "Ulm", "people": "many"}]}',
            NOT_A_NUMBER,
        ),
        (
            Cities,
            '{"cities": [{"people": 1}]}',
            "the answer does not fit Cities: at cities[0].name: Field required",
        ),
        (SCHEMA, '{"name": 3}', "the answer does not fit City: at name: 3 is not of type 'string'"),
        (SCHEMA, "{}", "the answer does not fit City: 'name' is a required property"),
        (
            SCHEMA,
            '{"name": "a", "tags": ["b", 1]}',
            "the answer does not fit City: at tags[1]: 1 is not of type 'string'",
        ),
        (SCHEMA, "I cannot.", "the answer is not JSON (Expecting value, line 1, column 1): I cannot."),
    ],
    ids=["type", "missing", "dict-type", "dict-missing", "dict-item", "words"],
)
def test_what_does_not_fit_is_one_line_that_says_where_and_why(wanted: Any, text: str, said: str) -> None:
    assert refusal(lambda: schema_of(wanted).read(text), AnswerFailed) == said


def test_a_huge_answer_that_does_not_fit_is_still_one_line() -> None:
    assert (
        len(refusal(lambda: schema_of({"type": "string"}).read(json.dumps(["x" * 9000])), AnswerFailed)) < 400
    )


# ---- what is no schema ----


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            3,
            "3 is no schema; expected a pydantic model, a dataclass, a TypedDict, a dict with a JSON Schema, or a",
        ),
        (
            {"type": "strnig"},
            "this is not a JSON Schema: at type: 'strnig' is not valid under any of the given",
        ),
        (
            {"$ref": "https://elsewhere/a.json"},
            "the JSON Schema refers to https://elsewhere/a.json, which is not in",
        ),
        ("[1]", "the schema [1] cannot be read: No such file or directory"),
        ("{1}", "the schema is not JSON: "),
        (Plain, "<class 'tests.test_schema.Plain'> is no schema: Unable to generate"),
    ],
)
def test_what_is_no_schema_is_refused_in_one_line(wanted: Any, said: str) -> None:
    assert refusal(lambda: schema_of(wanted)).startswith(said)


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    file.write_text("[]")
    assert refusal(lambda: schema_of(file)) == f"{file} is not a JSON Schema; expected an object"


def test_without_pydantic_a_class_is_refused_and_a_json_schema_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.split(".")[0] == "pydantic":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "a class needs pydantic 2 (pip install pydantic)" in refusal(lambda: schema_of(Point))
    assert schema_of(SCHEMA).read('{"name": "Ulm"}') == {"name": "Ulm"}


# ---- named in an option ----


def test_an_option_names_a_variable_an_expression_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "city.json"
    file.write_text(json.dumps(SCHEMA))
    names = {"City": City, "wanted": SCHEMA, "path": str(file)}
    assert named_schema("City", names).read('{"name": "Ulm", "people": 3}') == City(name="Ulm", people=3)
    assert named_schema("list[City]", names).read("[]") == []
    assert named_schema("wanted", names).json_schema == SCHEMA
    assert named_schema("path", names).json_schema == SCHEMA
    assert named_schema(str(file), {}).json_schema == SCHEMA
    assert named_schema('{"type": "object"}', {}).json_schema == {"type": "object"}


def test_an_unknown_name_is_one_line() -> None:
    assert refusal(lambda: named_schema("Citty", {"City": City})) == (
        "--json Citty: there is no variable 'Citty'; did you mean City?"
    )


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "#/nope"}, "refers to #/nope, which is not in it"),
        ({"properties": {"a": {"$ref": "#/$defs/A"}}}, "refers to #/$defs/A, which is not in it"),
        ({"$schema": 5}, "this is not a JSON Schema"),
        ({"minimum": float("nan")}, "this is not a JSON Schema: Out of range float"),
        ({"default": object()}, "this is not a JSON Schema: Object of type object"),
    ],
)
def test_a_dict_that_is_no_schema_is_refused_in_one_line(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as error:
        schema_of(schema)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_schema_without_end_is_refused_in_one_line() -> None:
    schema: dict[str, Any] = {}
    schema["properties"] = {"a": schema}
    with pytest.raises(BadInput, match="this is not a JSON Schema: Circular reference"):
        schema_of(schema)
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"items": deep}
    with pytest.raises(BadInput, match="this is not a JSON Schema: .*recursion"):
        schema_of(deep)


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"$dynamicRef": "http://nowhere/x"}, {"$ref": "#anchor"}])
def test_an_answer_that_cannot_be_checked_says_so_in_one_line(schema: dict[str, Any]) -> None:
    with pytest.raises(AnswerFailed, match="the answer cannot be checked by the JSON Schema") as error:
        schema_of(schema).read("{}")
    assert "\n" not in str(error.value)


def test_a_title_of_several_lines_is_one_line_in_an_error() -> None:
    with pytest.raises(AnswerFailed) as error:
        schema_of({"const": 1, "title": "x\n" * 500}).read("{}")
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_references_inside_of_a_schema_are_followed() -> None:
    schema = {
        "$defs": {"a/b": {"type": "integer"}},
        "prefixItems": [{"$ref": "#/$defs/a~1b"}, {"$ref": "#/prefixItems/0"}],
    }
    assert schema_of(schema).read("[1, 2]") == [1, 2]

"""Response formats: what a server is held to, and the words where it cannot be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, Field

from jupyter_ssechat.request import Request, Turn
from jupyter_ssechat.response_format import (
    FIELD,
    as_any_json,
    closed,
    in_words,
    is_refused,
    response_format,
    schema_in,
    without_field,
)

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "people": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}


def asking(format: Any, **fields: Any) -> Request:
    return Request(turns=(Turn("user", "Which city?"),), options={FIELD: format, "seed": 1}, **fields)


# ---- the field ----


def test_a_schema_that_can_be_closed_is_strict() -> None:
    assert response_format("City", CITY) == {
        "type": "json_schema",
        "json_schema": {
            "name": "City",
            "strict": True,
            "schema": {**CITY, "required": ["name", "people"], "additionalProperties": False},
        },
    }


def test_one_that_cannot_goes_as_it_is() -> None:
    anything = {"type": "object", "additionalProperties": {"type": "integer"}}
    format = response_format("my counts: 1", anything)
    assert format["json_schema"] == {"name": "my_counts__1", "schema": anything, "strict": False}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "string"}},
        {"type": "object"},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {"type": "object"}}},
        {"type": "object", "properties": {"a": {"oneOf": [{"type": "string"}]}}},
        {"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}},
        {"type": "object", "properties": {"a": {"$ref": "https://elsewhere/a.json"}}},
        {"type": "object", "properties": {"a": True}},
    ],
)
def test_what_strict_servers_do_not_take_is_not_made_strict(schema: dict[str, Any]) -> None:
    assert closed(schema) is None


def test_objects_are_closed_wherever_they_stand() -> None:
    class Place(BaseModel):
        name: str
        near: list[Place] = Field(default_factory=list["Place"])
        capital: Place | None = None

    found = closed(Place.model_json_schema())
    assert found is not None
    assert found["required"] == ["name", "near", "capital"] and found["additionalProperties"] is False
    assert found["$defs"]["Place"]["additionalProperties"] is False
    assert "default" not in json.dumps(found)


def test_bounds_are_left_out_where_a_server_knows_none() -> None:
    found = closed({"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}}, bounded=False)
    assert found is not None and found["properties"] == {"a": {"type": "string"}}


def test_a_field_may_be_called_like_a_word_of_schemas() -> None:
    schema = {"type": "object", "properties": {"default": {"type": "string"}, "minLength": {"type": "null"}}}
    assert closed(schema) == {**schema, "required": ["default", "minLength"], "additionalProperties": False}


# ---- in words ----


def test_the_words_stand_after_the_system_prompt_and_the_field_is_gone() -> None:
    request = in_words(asking(response_format("City", CITY), system="Be brief."))
    assert request.options == {"seed": 1}
    assert request.system is not None
    system, words = request.system.split("\n\n")
    assert system == "Be brief." and words.startswith("Answer with JSON alone")
    schema = response_format("City", CITY)["json_schema"]["schema"]
    assert json.loads(words.rpartition("\n")[2]) == schema


def test_any_json_is_asked_for_in_words_too() -> None:
    assert in_words(asking({"type": "json_object"})).system == (
        "Answer with JSON alone: one value, without any other text and without a code fence."
    )


@pytest.mark.parametrize("format", [{"type": "text"}, None, "x"])
def test_a_format_that_asks_for_no_json_is_only_left_out(format: Any) -> None:
    assert in_words(asking(format, system="s")) == without_field(asking(format, system="s"))


def test_without_a_format_nothing_changes() -> None:
    request = Request(turns=(Turn("user", "x"),), options={"seed": 1})
    assert in_words(request) == as_any_json(request) == request


def test_a_server_that_knows_only_json_is_held_to_that() -> None:
    request = as_any_json(asking(response_format("City", CITY)))
    assert request.options == {"seed": 1, FIELD: {"type": "json_object"}}
    assert request.system is not None and "JSON Schema" in request.system
    already = asking({"type": "json_object"})
    assert as_any_json(already) == already


def test_the_schema_of_a_request_is_found() -> None:
    assert schema_in(asking({"type": "json_schema", "json_schema": {"schema": CITY}})) == CITY
    assert schema_in(asking({"type": "json_object"})) is None


# ---- refusals ----


@pytest.mark.parametrize(
    "said",
    [
        "This response_format type is unavailable now",
        "Invalid schema for response_format 'City': In context=(), 'additionalProperties' is required",
        "output_config: Extra inputs are not permitted",
        "Unknown parameter: 'text.format'.",
        "Failed to parse grammar",
        "JSON_SCHEMA is not supported",
    ],
)
def test_a_refusal_that_names_the_format_is_known(said: str) -> None:
    assert is_refused(asking(response_format("City", CITY)), said)


def test_other_refusals_are_not_about_it() -> None:
    assert not is_refused(asking(response_format("City", CITY)), "max_tokens is too large")
    assert not is_refused(Request(turns=()), "This response_format type is unavailable now")

"""Specimens: small values that fit a schema, the same each time."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, HttpUrl

from jupyter_ssechat.schema import schema_of
from jupyter_ssechat.specimen import specimen


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=1, le=9)]


class Dog(BaseModel):
    kind: Literal["dog"]
    good: Literal[True]


class Node(BaseModel):
    name: str
    children: list[Node] = Field(default_factory=list["Node"])
    parent: Node | None = None


class Everything(BaseModel):
    name: Annotated[str, Field(min_length=3, max_length=40)]
    code: Annotated[str, Field(pattern=r"^[A-Z]{2}-\d{3}$")]
    long: Annotated[str, Field(min_length=60)]
    short: Annotated[str, Field(max_length=3)]
    day: date
    id: UUID
    page: HttpUrl
    colour: Colour
    ratio: Annotated[float, Field(gt=0, lt=1)]
    price: Decimal
    even: Annotated[int, Field(multiple_of=2, ge=-10, le=10)]
    below: Annotated[int, Field(lt=0)]
    flag: bool
    nothing: None
    pets: Annotated[list[Annotated[Cat | Dog, Field(discriminator="kind")]], Field(min_length=3)]
    pair: tuple[int, str]
    counts: dict[str, int]
    maybe: int | None = None
    tree: Node


@pytest.mark.parametrize("seed", range(5))
def test_a_model_with_everything_gets_a_value_that_fits(seed: int) -> None:
    schema = schema_of(Everything)
    made = specimen(schema.json_schema, seed)
    assert schema.read(json.dumps(made)) == Everything.model_validate_json(json.dumps(made))


def test_the_same_seed_gives_the_same_value_and_names_come_from_the_fields() -> None:
    schema = schema_of(Cat).json_schema
    assert specimen(schema, 7) == specimen(schema, 7)
    assert specimen(
        {"properties": {"cities": {"items": {"type": "string"}}, "title": {"type": "string"}}}
    ) == {
        "cities": ["demo city 1", "demo city 2"],
        "title": "demo title",
    }


SIMPLE: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({"type": "string"}),
    st.just({"type": "boolean"}),
    st.just({"type": ["null", "integer"]}),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more}, *[st.integers(0, 9)] * 2
    ),
    st.builds(
        lambda low, more: {"type": "number", "minimum": low, "maximum": low + more}, *[st.integers(-9, 9)] * 2
    ).filter(lambda one: one["minimum"] <= one["maximum"]),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        *[st.integers(0, 9)] * 2,
    ),
    st.builds(lambda choices: {"enum": choices}, st.lists(st.integers() | st.text(), min_size=1)),
)


def grown(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    fields = st.dictionaries(st.text("abc", min_size=1), inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(lambda fields: {"type": "object", "properties": fields, "required": list(fields)}, fields),
        st.builds(
            lambda one, low: {"type": "array", "items": one, "minItems": low}, inner, st.integers(0, 4)
        ),
        st.builds(lambda ways: {"anyOf": ways}, st.lists(inner, min_size=1, max_size=3)),
    )


@given(st.recursive(SIMPLE, grown, max_leaves=8), st.integers(0, 99))
def test_a_specimen_fits_its_schema(schema: dict[str, Any], seed: int) -> None:
    Draft202012Validator(schema).validate(specimen(schema, seed))


def test_a_schema_that_refers_to_itself_has_an_end() -> None:
    endless = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert specimen(endless) == "demo value"
    assert len(json.dumps(specimen(schema_of(Node).json_schema))) < 100_000

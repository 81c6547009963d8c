"""Profiles: a name or an address becomes an upstream, with the key where it belongs."""

from __future__ import annotations

import pytest

from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.profiles import open_upstream
from jupyter_ssechat.upstream import Demo

from .asking import KEY, patches_of
from .servers import answer, model_server


def test_a_spec_names_the_demo_or_the_address_of_a_server() -> None:
    opened = open_upstream("demo", pace=0.5)
    assert isinstance(opened, Demo)
    assert (opened.name, opened.pace) == ("demo", 0.5)
    there = open_upstream("http://h", model="m")
    assert isinstance(there, ModelServer)
    assert (there.url, there.model) == ("http://h/v1/chat/completions", "m")


@pytest.mark.parametrize("spec", ["", "Demo", "localhost:11434", "ftp://h", "file:///etc/passwd"])
def test_any_other_spec_is_bad_input_that_says_what_is_expected(spec: str) -> None:
    with pytest.raises(BadInput, match="expected demo, an address"):
        open_upstream(spec)


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_key_that_is_not_there_is_told_at_once_by_the_name_of_its_variable(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_KEY_OF_THE_TESTS", raising=False)
    if value is not None:
        monkeypatch.setenv("A_KEY_OF_THE_TESTS", value)
    with pytest.raises(BadInput, match="A_KEY_OF_THE_TESTS is empty or not set"):
        open_upstream("http://h", api_key_env="A_KEY_OF_THE_TESTS")


def test_a_key_is_read_from_the_environment_without_the_line_end_of_its_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("A_KEY_OF_THE_TESTS", f"{KEY}\n")
    with model_server(answer("ok")) as server:
        opened = open_upstream(server.url, api_key_env="A_KEY_OF_THE_TESTS")
        assert KEY not in repr(opened) + opened.name
        patches_of(opened)
    assert server.request_headers[0]["authorization"] == f"Bearer {KEY}"

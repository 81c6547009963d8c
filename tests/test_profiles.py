"""Profiles: a name or an address becomes an upstream, with the key where it belongs."""

from __future__ import annotations

import pytest

from jupyter_ssechat import profiles
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.model_server import ModelServer
from jupyter_ssechat.profiles import PROFILES, Profile, key_wanted, local_servers, open_upstream
from jupyter_ssechat.upstream import Demo

from .asking import KEY, patches_of, run
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


def test_servers_of_this_machine_are_found_at_their_ports_with_what_they_offer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        model_server(answer("ok"), models=["one", "two"]) as there,
        model_server(answer("ok"), models=[]) as empty,
    ):
        local = (
            Profile(name="gone", title="", url="http://127.0.0.1:9/v1"),
            Profile(name="empty", title="", url=empty.url),
            Profile(name="there", title="", url=there.url),
            Profile(name="shadowed", title="", url=there.url),
        )
        monkeypatch.setattr(profiles, "_LOCAL", local)
        found = run(local_servers())
    assert [(profile.name, models) for profile, models in found] == [("there", ["one", "two"])]
    assert there.requests == empty.requests == []  # they are asked for their models, and for nothing else


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_every_profile_opens_with_its_key_and_its_dialect(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = None if profile.url else "https://resource.test/openai/v1"
    if profile.key_env:
        monkeypatch.delenv(profile.key_env, raising=False)
        assert key_wanted(profile.name) == profile.key_env
        with pytest.raises(BadInput, match=f"set the environment variable {profile.key_env}"):
            open_upstream(profile.name, url=url)
        monkeypatch.setenv(profile.key_env, KEY)
    opened = open_upstream(profile.name, url=url)
    assert key_wanted(profile.name) is None
    assert isinstance(opened, ModelServer)
    assert opened.dialect == profile.dialect
    assert opened.url.startswith(profile.url or "https://resource.test/openai/v1/chat/completions")
    assert KEY not in repr(opened)


def test_the_key_of_a_profile_does_not_go_to_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with model_server(answer("ok")) as server:
        patches_of(open_upstream("openai", url=server.url))
    assert "authorization" not in server.request_headers[0]


def test_a_profile_without_an_address_asks_for_one() -> None:
    with pytest.raises(BadInput, match="azure has no address of its own; give yours as its url"):
        open_upstream("azure")


def test_azure_takes_its_key_in_a_header_of_its_own() -> None:
    with model_server(answer("ok")) as server:
        patches_of(open_upstream("azure", url=server.url, api_key=KEY))
    headers = server.request_headers[0]
    assert (headers["api-key"], "authorization" in headers) == (KEY, False)

"""The examples of ``docs/deploy``: what they say is what the command takes, and systemd accepts the unit."""

from __future__ import annotations

import argparse
import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from jupyter_ssechat.serve_config import omit_defaults, settled
from jupyter_ssechat.serve_options import add_options

from .test_package import ROOT

PAGE = ROOT / "docs" / "deploy.md"
UNIT = ROOT / "docs" / "deploy" / "jupyter-ssechat.service"
CONTAINER = ROOT / "docs" / "deploy" / "Containerfile"
COMPOSE = ROOT / "docs" / "deploy" / "compose.yaml"
ALL = [PAGE, UNIT, CONTAINER, COMPOSE, ROOT / "README.md", ROOT / "docs" / "stores.md"]


class Strict(argparse.ArgumentParser):
    """Raises where the command would exit."""

    def error(self, message: str) -> Any:
        raise AssertionError(message)


def parser() -> argparse.ArgumentParser:
    strict = Strict()
    add_options(strict)
    return strict


def parsed(words: list[str]) -> argparse.Namespace:
    """What the words after ``serve`` come to, without the file of --config."""
    strict = parser()
    omit_defaults(strict)
    given = strict.parse_args(words)
    vars(given).pop("config", None)
    return settled(given, add_options)


def commands(text: str) -> list[list[str]]:
    """The words after ``serve`` of every command in a page."""
    found = re.findall(r"^jupyter[ -]ssechat serve\b(.*)$", text, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in found]


@pytest.mark.parametrize("page", ["docs/deploy.md", "docs/stores.md", "docs/users.md", "README.md"])
def test_every_command_of_a_page_is_one(page: str) -> None:
    found = commands((ROOT / page).read_text())
    assert found
    for words in found:
        parsed([word for word in words if word not in ("[OPTIONS]",)])


@pytest.mark.parametrize("file", ALL[:4], ids=lambda file: file.name)
def test_every_option_that_is_named_is_one(file: Path) -> None:
    known = {name for action in parser()._actions for name in action.option_strings}
    of_others = {
        "--appendonly",
        "--build",
        "--create-home",
        "--directory",
        "--env",
        "--interval",
        "--mode",
        "--no-cache-dir",
        "--no-create-home",
        "--now",
        "--owner",
        "--publish",
        "--secret",
        "--shell",
        "--start-period",
        "--tag",
        "--timeout",
        "--uid",
        "--volume",
    }
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", file.read_text())) <= known | of_others


def test_the_example_of_a_file_is_one(tmp_path: Path) -> None:
    [toml] = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path / "serve.toml"
    file.write_text(toml)
    args = settled(argparse.Namespace(config=str(file)), add_options)
    assert (args.port, args.workers, args.profile, args.allowed_host) == (8765, 2, "ollama", ["chat.example"])


def unit() -> configparser.ConfigParser:
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read_string(re.sub(r"\\\n\s*", "", UNIT.read_text()))
    return read


def test_the_unit_starts_what_the_command_takes() -> None:
    service = unit()["Service"]
    command, serve, *words = shlex.split(service["ExecStart"])
    args = parsed(words)
    assert (command, serve) == ("/opt/jupyter-ssechat/bin/jupyter-ssechat", "serve")
    assert args.token_file == "%d/token" and service["LoadCredential"].startswith("token:")
    assert args.store == f"sqlite:%S/{service['StateDirectory']}/chats.db"
    assert (service["KillSignal"], service["NoNewPrivileges"], service["DynamicUser"]) == (
        "SIGTERM",
        "yes",
        "yes",
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(
        UNIT.read_text().replace("/opt/jupyter-ssechat/bin/jupyter-ssechat serve", "/bin/true serve")
    )
    ran = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_container_starts_what_the_command_takes_and_not_as_root() -> None:
    steps = dict(re.findall(r"^([A-Z]+) (.*)$", CONTAINER.read_text(), re.MULTILINE))
    entry, options = json.loads(steps["ENTRYPOINT"]), json.loads(steps["CMD"])
    args = parsed([*entry[2:], *options])
    assert entry[:2] == ["jupyter-ssechat", "serve"]
    assert (args.host, str(args.port)) == ("0.0.0.0", steps["EXPOSE"])
    assert (steps["USER"], steps["STOPSIGNAL"]) == ("10001", "SIGTERM")
    assert args.token is None and args.token_file == "/run/secrets/token"


def test_the_container_asks_for_its_own_health_as_it_is_served() -> None:
    [check] = re.findall(r"^HEALTHCHECK .*?CMD (\[.*\])$", CONTAINER.read_text(), re.MULTILINE)
    _, _, script = json.loads(check)
    from .test_serve import Server

    server = Server()
    try:
        asks = script.replace("8765", server.url.rpartition(":")[2])
        assert subprocess.run(["python3", "-c", asks], timeout=60, check=False).returncode == 0
    finally:
        server.close()
    assert (
        subprocess.run(["python3", "-c", asks], capture_output=True, timeout=60, check=False).returncode == 1
    )


def test_the_services_start_what_the_command_takes() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    steps = dict(re.findall(r"^([A-Z]+) (.*)$", CONTAINER.read_text(), re.MULTILINE))
    args = parsed([*json.loads(steps["ENTRYPOINT"])[2:], *services["gateway"]["command"]])
    assert (args.store, args.workers, args.profile) == ("redis://redis", 4, "openai")
    assert args.token_file == f"/run/secrets/{services['gateway']['secrets'][0]}"

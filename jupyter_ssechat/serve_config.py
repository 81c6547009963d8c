"""What the command line says and what a TOML file says → the options of a command.

The parser of the command is all that is known here of its options: a key of the file is the long name of one, and
its value goes the way that a word of the command line goes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from typing import Any

from .errors import BadInput
from .serve_options import Secret
from .toml_file import read_toml

MAX_CONFIG_BYTES = 2**20
CONFIG = "config"

AddOptions = Callable[[argparse.ArgumentParser], None]


def omit_defaults(parser: argparse.ArgumentParser) -> None:
    """Let a parser tell only what was said to it."""
    for action in _actions(parser):
        action.default = argparse.SUPPRESS


def settled(given: argparse.Namespace, add_options: AddOptions) -> argparse.Namespace:
    """All options: as `given`, else as the file of `--config` has them, else by default.

    BadInput, one line with the file and the key, for a file that says what the command line could not say.
    """
    options = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    add_options(options)
    settled = options.parse_args([])
    said = vars(given)
    if (file := said.get(CONFIG)) is not None:
        vars(settled).update(_left_open(options, _Config(file, options).values(), said))
    vars(settled).update(said)
    return settled


def _left_open(
    options: argparse.ArgumentParser, values: dict[str, Any], said: Mapping[str, Any]
) -> dict[str, Any]:
    """What the command line leaves to the file: neither the option itself was given nor one in its place."""
    return {
        dest: value
        for dest, value in values.items()
        if dest not in said and _rivals(options, dest).isdisjoint(said)
    }


class _Config:
    """A TOML file, read with the options that it may set."""

    def __init__(self, file: str, options: argparse.ArgumentParser) -> None:
        self._file = file
        self._options = options
        self._known = {
            name.removeprefix("--"): action
            for action in _actions(options)
            if action.help != argparse.SUPPRESS and action.dest != CONFIG
            for name in action.option_strings
            if name.startswith("--")
        }

    def values(self) -> dict[str, Any]:
        """What the file sets, by the name of the attribute."""
        table, private = read_toml(self._file)
        values: dict[str, Any] = {}
        for key, value in table.items():
            action = self._action(key)
            if action.dest in values:
                raise self._wrong(key, "it stands there twice, with - and with _; expected it once")
            if taken := _rivals(self._options, action.dest) & values.keys():
                raise self._wrong(key, f"not allowed with {_dashed(min(taken))}; leave one of them out")
            values[action.dest] = self._value(key, action, value)
            if _is_secret(values[action.dest]) and not private:
                raise self._wrong(
                    key,
                    f"a secret, and others can read the file; expected it for you alone: chmod 600 {self._file}",
                )
        return values

    def _action(self, key: str) -> argparse.Action:
        action = self._known.get(_dashed(key))
        if action is None:
            raise self._wrong(repr(key), f"not an option; expected one of {', '.join(sorted(self._known))}")
        return action

    def _value(self, key: str, action: argparse.Action, value: Any) -> Any:
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise self._wrong(key, "expected true or false")
            return action.const if value else action.default
        if action.nargs is None:
            return self._one(key, action, value)
        if not isinstance(value, list):
            raise self._wrong(key, f'expected a list, such as {key} = ["…"]')
        return [each for one in value for each in self._one(key, action, one)]  # pyright: ignore[reportUnknownVariableType]

    def _one(self, key: str, action: argparse.Action, value: Any) -> Any:
        """One word of the command line, as its option takes it."""
        if type(value) not in (str, int, float):
            raise self._wrong(key, "expected a text in quotes, or a number")
        if value == "":
            raise self._wrong(key, "it is empty; expected a value, or leave the key out")
        try:
            parsed = self._options.parse_args([f"--{_dashed(key)}={value}"])
        except argparse.ArgumentError as error:
            raise self._wrong(key, error.message) from None
        taken = getattr(parsed, action.dest)
        [sample] = taken if isinstance(taken, list) else [taken]  # pyright: ignore[reportUnknownVariableType]
        if isinstance(sample, int | float) and isinstance(value, str):
            raise self._wrong(key, "expected a number, without quotes")
        if isinstance(sample, str | os.PathLike) and not isinstance(value, str):
            raise self._wrong(key, "expected a text, in quotes")
        return taken  # pyright: ignore[reportUnknownVariableType]

    def _wrong(self, key: str, said: str) -> BadInput:
        return BadInput(f"{self._file}: {key}: {said}")


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _is_secret(value: Any) -> bool:
    return isinstance(value, Secret)


def _rivals(parser: argparse.ArgumentParser, dest: str) -> set[str]:
    """The options that cannot be given together with one."""
    groups = [{one.dest for one in group} for group in _exclusive(parser)]
    return {rival for group in groups if dest in group for rival in group} - {dest}


# argparse knows these and has no public word for them.


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # pyright: ignore[reportPrivateUsage]


def _exclusive(parser: argparse.ArgumentParser) -> list[list[argparse.Action]]:
    groups = parser._mutually_exclusive_groups  # pyright: ignore[reportPrivateUsage]
    return [group._group_actions for group in groups]  # pyright: ignore[reportPrivateUsage]


__all__ = ["omit_defaults", "settled"]

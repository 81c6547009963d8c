"""The line after a magic → its options."""

# IPython's own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import keyword
import os
import shlex
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import MagicArgumentParser

from .errors import BadInput

HELP = """\
%%chat [options]      ask what stands below; run the cell again for another answer, change it to edit the turn
  -m MODEL, -s SYSTEM, --no-thinking, --effort LEVEL         how to answer
  -t TEMPERATURE, --max-tokens N, --stop TEXT, --option KEY VALUE
  --image FILE|VARIABLE                                      a picture to look at
  --session NAME, --new, --append                            where the turn belongs
  --bg                                                       return at once; the kernel stays free
  -o VAR                                                     keep the Reply in a variable

%chat stop | resume | continue | regenerate | show           the last answer
%chat status | history | new                                 the conversation
%chat use ollama|openai|…|URL [-m MODEL] [--key-env NAME]    the model server; `use` alone lists them
%chat use auto | use demo                                    one that runs on this machine; the built-in one
%chat models                                                 what it offers
%chat connect URL [--token-env NAME | --token-file FILE]     another gateway
%config ChatMagics                                           the defaults"""

# Options of %%chat that are keywords of `Chat.send` when they are given.
_ASKING = ("model", "system", "effort", "temperature", "max_tokens", "stop")


def _cell() -> MagicArgumentParser:
    parser = MagicArgumentParser("%%chat")
    add = parser.add_argument
    add("-m", "--model", help="the model to ask")
    add("-s", "--system", help="the system prompt for this turn")
    add("--no-thinking", action="store_true", help="answer without thinking")
    add("--effort", metavar="LEVEL", help="how hard to think, such as low, medium or high")
    add("-t", "--temperature", type=float, help="how freely to choose words; 0 is not at all")
    add("--max-tokens", type=int, metavar="N", help="the longest answer, in tokens")
    add("--stop", action="append", metavar="TEXT", help="end the answer before this text")
    add("--image", action="append", metavar="FILE", help="a picture: a file, an address or a variable")
    add("--option", nargs=2, action="append", metavar=("KEY", "VALUE"), help="a field for the model server")
    add("--session", metavar="NAME", help="the conversation to use; it stays chosen")
    add("--new", action="store_true", help="begin a new conversation")
    add("--append", action="store_true", help="add a turn, even if this cell has one already")
    add("--bg", action="store_true", help="return at once and keep the kernel free")
    add("-o", "--out", metavar="VAR", help="keep the Reply in this variable")
    return parser


def _use() -> MagicArgumentParser:
    parser = MagicArgumentParser("%chat use")
    add = parser.add_argument
    add("upstream", help="demo, auto, a profile, or the address of a model server")
    add("url", nargs="?", help="the address of a server of the profile's kind, if not its own")
    add("-m", "--model", help="the model to ask")
    add("--dialect", help="the wire, if the address and the first event do not tell it")
    add("--key-env", metavar="NAME", help="the environment variable that holds the key")
    add("--ask-key", action="store_true", help="ask for the key; it is kept in memory alone")
    add("--pace", type=float, help="for the demo: 1 like a real model, 0 at once")
    return parser


def _connect() -> MagicArgumentParser:
    parser = MagicArgumentParser("%chat connect")
    parser.add_argument("gateway", help="the address of a gateway")
    parser.add_argument("--token-env", metavar="NAME", help="the environment variable that holds the token")
    parser.add_argument("--token-file", metavar="FILE", help="the file that holds the token")
    return parser


CELL, USE, CONNECT = _cell(), _use(), _connect()


def documented(parser: MagicArgumentParser) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a magic's help, as ``%%chat?`` shows it, list its options."""

    def document(magic: Callable[..., None]) -> Callable[..., None]:
        magic.__doc__ = f"{magic.__doc__}\n\n{parser.format_help()}"
        return magic

    return document


def parsed(parser: MagicArgumentParser, line: str) -> Namespace:
    """Read options as a shell would; UsageError where they cannot be read."""
    try:  # IPython's own splitting keeps the quotes
        options: Namespace = parser.parse_args(shlex.split(line))
    except ValueError as error:
        raise UsageError(f"the options cannot be read: {error}") from None
    return options


def cell_options(line: str) -> Namespace:
    """The options of %%chat."""
    options = parsed(CELL, line)
    if options.out and (not options.out.isidentifier() or keyword.iskeyword(options.out)):
        raise UsageError(f"-o {options.out}: not a variable name")
    return options


def use_options(line: str) -> Namespace:
    """The options of %chat use."""
    options = parsed(USE, line)
    if options.upstream != "demo" and options.pace is not None:
        raise UsageError("--pace is for the demo model; a model server keeps its own pace")
    return options


def asking(options: Namespace) -> dict[str, Any]:
    """The keywords of `Chat.send` that the options of %%chat give."""
    given: list[tuple[str, str]] = options.option or []
    found: dict[str, Any] = {"options": {key: _value(value) for key, value in given}}
    found |= {name: value for name in _ASKING if (value := getattr(options, name)) not in (None, "")}
    return {**found, "thinking": False} if options.no_thinking else found


def token(options: Namespace) -> str | None:
    """The token of another gateway, from the file or the environment variable that is named."""
    if options.token_file:
        try:
            return Path(options.token_file).expanduser().read_text().strip()
        except OSError as error:
            raise BadInput(f"the token file {options.token_file} cannot be read: {error.strerror}") from None
    if options.token_env:
        given = os.environ.get(options.token_env, "").strip()
        if not given:
            raise BadInput(f"the environment variable {options.token_env} is empty or not set")
        return given
    return None


def _value(text: str) -> Any:
    """JSON if it is JSON, else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


__all__ = [
    "CELL",
    "CONNECT",
    "HELP",
    "asking",
    "cell_options",
    "documented",
    "parsed",
    "token",
    "use_options",
]

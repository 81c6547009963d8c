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
from typing import Any, get_args

from IPython.core.error import UsageError
from IPython.core.magic_arguments import MagicArgumentParser

from .cassette import RecordMode
from .errors import BadInput

HELP = """\
%%chat [options]      ask what stands below; run the cell again for another answer, change it to edit the turn
  -m MODEL, -s SYSTEM, --no-thinking, --effort LEVEL         how to answer
  -t TEMPERATURE, --max-tokens N, --stop TEXT, --option KEY VALUE
  --vars, --file PATH, --cell N, --explain, --image FILE     what else to read
  --json MODEL                                               an answer as data, in VAR.data
  --session NAME, --new, --append                            where the turn belongs
  --bg                                                       return at once; the kernel stays free
  -o VAR                                                     keep the Reply in a variable
  --record FILE, --replay FILE                               a cassette for this cell

%chat stop | resume | continue | regenerate | show           the last answer
%chat explain [QUESTION]                                     the last exception
%chat status | history | new                                 the conversation
%chat sessions | open ID                                     the conversations that the gateway has
%chat save FILE | load FILE | keep FILE                      a conversation in a file, for tomorrow
%chat record FILE [--mode MODE] | replay FILE [--pace X]     answers on a cassette; `record off` takes it out
%chat use ollama|openai|…|URL [-m MODEL] [--key-env NAME]    the model server; `use` alone lists them
%chat use auto | use demo                                    one that runs on this machine; the built-in one
%chat models                                                 what it offers
%chat connect URL [--token-env NAME | --token-file FILE]     another gateway
%config ChatMagics                                           the defaults"""

# Options of %%chat that are keywords of `Chat.send` when they are given.
_ASKING = ("model", "system", "effort", "temperature", "max_tokens", "stop")


# Options that name something, so that none of them means nothing.
_NAMING = ("file", "image", "json", "record", "replay", "session", "out")


def _given(options: Namespace, name: str) -> list[str]:
    value = getattr(options, name)
    return value if isinstance(value, list) else [value]


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
    add("--vars", action="store_true", help="fill in {{expressions}} from the notebook's variables")
    add("--file", action="append", metavar="PATH", help="a text file to read")
    add("--cell", action="append", type=int, metavar="N", help="the cell that ran as In[N], and its output")
    add("--explain", action="store_true", help="the last exception; without a prompt, asks what went wrong")
    add("--image", action="append", metavar="FILE", help="a picture: a file, an address or a variable")
    add("--json", metavar="MODEL", help="ask for JSON: a pydantic model, a JSON Schema, or a file with one")
    add("--option", nargs=2, action="append", metavar=("KEY", "VALUE"), help="a field for the model server")
    add("--session", metavar="NAME", help="the conversation to use; it stays chosen")
    add("--new", action="store_true", help="begin a new conversation")
    add("--append", action="store_true", help="add a turn, even if this cell has one already")
    add("--bg", action="store_true", help="return at once and keep the kernel free")
    add("-o", "--out", metavar="VAR", help="keep the Reply in this variable")
    add("--record", metavar="FILE", help="a cassette for this cell: replay what it has, record the rest")
    add("--replay", metavar="FILE", help="a cassette for this cell: replay alone")
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


def _record() -> MagicArgumentParser:
    parser = MagicArgumentParser("%chat record")
    parser.add_argument("file", help="the cassette; off takes it out")
    modes = get_args(RecordMode)
    parser.add_argument(
        "--mode", choices=modes, default="new_episodes", help="what is recorded, and what is replayed"
    )
    return parser


def _replay() -> MagicArgumentParser:
    parser = MagicArgumentParser("%chat replay")
    parser.add_argument("file", help="the cassette, or a recorded .sse file; off takes it out")
    parser.add_argument("--pace", type=float, default=0.0, help="0 at once, 1 as it was recorded")
    return parser


def _file() -> MagicArgumentParser:
    parser = MagicArgumentParser("%chat save, load, keep")
    parser.add_argument("file", help="the file of the conversation")
    return parser


CELL, USE, CONNECT, RECORD, REPLAY, FILE = _cell(), _use(), _connect(), _record(), _replay(), _file()


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
        raise UsageError(f"{parser.prog}: the options cannot be read: {error}") from None
    except UsageError as error:
        raise UsageError(f"{parser.prog}: {error}; %chat help lists the options") from None
    return options


def cell_options(line: str) -> Namespace:
    """The options of %%chat."""
    options = parsed(CELL, line)
    if empty := [name for name in _NAMING if "" in _given(options, name)]:
        raise UsageError(f"--{empty[0]} is empty; name something, or leave it out")
    if options.out and (not options.out.isidentifier() or keyword.iskeyword(options.out)):
        raise UsageError(f"-o {options.out}: not a variable name")
    if options.record and options.replay:
        raise UsageError(
            "--record and --replay were both given; --record replays what the cassette has already"
        )
    if options.bg and (options.record or options.replay):
        raise UsageError("a cell in the background cannot have a cassette of its own; use %chat record FILE")
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

"""``jupyter-ssechat COMMAND``: tools for people who debug streams.

A command is a function that adds its parser and sets `run`, and stands in `COMMANDS`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TextIO

from .cassette import is_cassette
from .dialects import DIALECTS, Dialect
from .dialects.third_party import known_dialects
from .errors import BadInput, SSEChatError
from .message import Message
from .replay import exit_status, replay
from .serve import add_serve
from .serve_users import add_token
from .wire_json import dumps

CHUNK = 2**16
USAGE_ERROR = 2
INTERRUPTED = 130

Subparsers = Any  # argparse has no public name for it
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2."""
        self.exit(USAGE_ERROR, f"{self.prog}: {message}; try {self.prog} --help\n")


def add_replay(commands: Subparsers) -> None:
    """Add ``replay FILE``."""
    parser: Parser = commands.add_parser(
        "replay",
        help="print the final message of a recorded stream",
        description="Print the final message of a recorded stream: thinking and answer on standard output, "
        "its state in one line on standard error. Of a cassette, print every request and its answer.",
        epilog="Exit status: 0 finished, stopped or filtered; 1 failed or interrupted, or a cassette with a broken "
        "line; 2 unreadable.",
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a recorded body (.sse, or the JSON in its place), or a cassette; - is stdin",
    )
    parser.add_argument(
        "--dialect",
        type=_dialect,
        metavar="NAME",
        help=f"the wire: {', '.join(sorted(DIALECTS))}, or one that a package brings "
        "(default: told by the first event)",
    )
    parser.add_argument("--json", action="store_true", help="print the message as one JSON object")
    parser.set_defaults(run=run_replay)


def _dialect(name: str) -> type[Dialect]:
    known = known_dialects()
    if name not in known:
        expected = ", ".join(sorted(known))
        raise argparse.ArgumentTypeError(f"{name!r} is not a dialect; expected one of {expected}")
    return known[name]


def run_replay(args: argparse.Namespace) -> int:
    """Replay a file and print what it comes to: a stream, or a cassette with many of them."""
    try:
        if args.file != "-" and _begins_as_cassette(args.file):
            return _read_out(args)
        message = replay(_chunks(args.file), args.dialect)
    except OSError as error:
        return _complain(f"{args.file} cannot be read: {error.strerror or error}", USAGE_ERROR)
    args.status = exit_status(message)
    if args.json:
        print(dumps(message.to_dict()))
    else:
        print(readable(message, terminal=sys.stdout.isatty()))
        _say(status_line(message))
    if args.json and message.error is not None:
        _say(status_line(message))
    return exit_status(message)


def _begins_as_cassette(file: str) -> bool:
    with open(file, "rb") as stream:
        return is_cassette(stream.readline(CHUNK))


def _read_out(args: argparse.Namespace) -> int:
    """Print every episode of a cassette, as text or as one object a line; 1 if a line of it is broken."""
    from .readout import Readout, prompt_of  # the client's libraries are not needed for a plain stream

    readout = Readout(Path(args.file))
    args.status = 1 if readout.problems else 0
    for told in readout:
        if args.json:
            print(dumps({"ask": told.meaning, **told.message.to_dict()}))
        else:
            asked = f"── asked ──\n\n{prompt_of(told.meaning)}\n\n── {status_line(told.message)} ──\n"
            text = f"{asked}\n{readable(told.message)}\n"
            print(_CONTROL.sub("\ufffd", text) if sys.stdout.isatty() else text)
    for problem in readout.problems:
        _say(problem)
    return args.status


def readable(message: Message, *, terminal: bool = False) -> str:
    """Return thinking and answer for people; for a terminal without what would control it."""
    parts = [message.content] if message.content else []
    if message.thinking:
        seconds = message.thinking_seconds
        title = "thinking" if seconds is None else f"thinking, {seconds:g} s"
        parts = [f"── {title} ──", message.thinking, "── answer ──", *parts]
    if calls := message.document.get("response/tool_calls"):
        parts += ["── tool calls ──", *map(dumps, calls)]
    text = "\n\n".join(parts)
    return _CONTROL.sub("\ufffd", text) if terminal else text


def status_line(message: Message) -> str:
    """Return the state of a message in one line."""
    words = [message.status]
    if message.error is not None:
        words = [f"{message.status}: {message.error.message} ({message.error.type})"]
    elif message.finish_reason not in (None, message.status):
        words = [f"{message.status} ({message.finish_reason})"]
    elif message.status == "interrupted":
        words = ["interrupted: the stream ends before a terminal status"]
    if message.model:
        words.append(message.model)
    if message.usage and message.usage.total_tokens is not None:
        words.append(f"{message.usage.total_tokens} tokens")
    return " · ".join(words)


def _chunks(file: str) -> Iterator[bytes]:
    if file == "-":
        yield from _pieces(sys.stdin.buffer)
        return
    with open(file, "rb") as stream:
        yield from _pieces(stream)


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def _complain(text: str, status: int) -> int:
    _say(f"jupyter-ssechat: {text}")
    return status


def _say(line: str) -> None:
    print(_CONTROL.sub(" ", line.replace("\n", " ")), file=sys.stderr)


COMMANDS: tuple[Callable[[Subparsers], None], ...] = (add_replay, add_serve, add_token)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    parser = Parser(prog="jupyter-ssechat", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    args = parser.parse_args(argv)
    _speak_utf8(sys.stdout)
    _speak_utf8(sys.stderr)
    status = INTERRUPTED
    try:
        status = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough; the interpreter must not complain at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = getattr(args, "status", INTERRUPTED)
    except KeyboardInterrupt:
        pass
    except SSEChatError as error:
        return _complain(str(error), USAGE_ERROR if isinstance(error, BadInput) else 1)
    return status


def _speak_utf8(stream: TextIO) -> None:
    """Write UTF-8 whatever the locale says: a chat is rarely ASCII."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="replace")


if __name__ == "__main__":
    sys.exit(main())

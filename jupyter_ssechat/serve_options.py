"""The options of ``serve``, and what each of them takes."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import get_args
from urllib.parse import parse_qs, urlsplit

from .cassette import RecordMode
from .dialects import DIALECTS
from .dialects.third_party import known_dialects
from .errors import BadInput

LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")


class Secret(str):
    """The value of an option that nobody else may read."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(…)"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option; a file of `--config` has the same ones under the same names."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="a TOML file with these options; those of the command line count more",
    )
    _add_address(parser)
    _add_access(parser)
    _add_users(parser)
    _add_upstream(parser)
    _add_store(parser)
    _add_logs(parser)
    _add_life(parser)


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        type=_host,
        help="the address to listen on (default: 127.0.0.1; 0.0.0.0 is every one)",
    )
    parser.add_argument("--port", default=0, type=_port, help="the port (default: a free one)")
    parser.add_argument(
        "--keep-alive",
        metavar="SECONDS",
        type=_seconds,
        default=15.0,
        help="send a comment after so much silence in a stream (default: 15)",
    )


def _add_access(parser: argparse.ArgumentParser) -> None:
    token = parser.add_mutually_exclusive_group()
    token.add_argument(
        "--token",
        type=_token,
        help="the token of every call (default: a new one); other users of the machine can see it in ps",
    )
    token.add_argument("--token-file", metavar="FILE", help="a file that holds the token and nothing else")
    token.add_argument("--token-env", metavar="NAME", help="the environment variable that holds the token")
    parser.add_argument(
        "--allowed-host",
        metavar="HOST",
        nargs="+",
        action="extend",
        type=_allowed_host,
        default=[],
        help="a further name, HOST or HOST:PORT, under which callers may ask; one or more",
    )
    parser.add_argument(
        "--cors",
        metavar="ORIGIN",
        nargs="+",
        action="extend",
        type=_origin,
        default=[],
        help="an origin, such as https://page.example, whose pages may read the answers; one or more",
    )


def _add_users(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--users",
        metavar="FILE",
        help="a TOML file of users, each with a token of their own; `jupyter ssechat token NAME` makes one",
    )
    for whose, about in (("user", "each user"), ("all", "all users together")):
        parser.add_argument(
            f"--limit-{whose}",
            metavar="LIMIT",
            nargs="+",
            action="extend",
            type=_limit,
            default=[],
            help=f"what {about} may take at most: streams=N, readers=N, stored=SIZE, rate=N/min; one or more"
            + (", also request=SIZE" if whose == "user" else ""),
        )


def _add_upstream(parser: argparse.ArgumentParser) -> None:
    upstream = parser.add_mutually_exclusive_group()
    upstream.add_argument(
        "--upstream",
        metavar="URL|demo|PROFILE",
        type=_upstream,
        default="demo",
        help="who answers: the address of a model server, the built-in demo (default), or a profile",
    )
    upstream.add_argument(
        "--profile", metavar="NAME", type=_profile, help="who answers: the profile of this name"
    )
    parser.add_argument("--model", metavar="NAME", help="the model to ask where a call names none")
    parser.add_argument(
        "--dialect",
        metavar="NAME",
        type=_dialect,
        help=f"the wire: auto, {', '.join(sorted(DIALECTS))}, or one that a package brings (default: told by the "
        "address)",
    )
    parser.add_argument(
        "--api-key-env", metavar="NAME", help="the environment variable with the key of the model server"
    )
    parser.add_argument(
        "--pace",
        metavar="X",
        type=_pace,
        help="of the demo: 0 answers at once, 2 takes twice as long (default: 1); of a replay: 1 is as recorded "
        "(default: 0)",
    )
    parser.add_argument(
        "--cassette", metavar="FILE", help="record the answers in this file, or replay those that it has"
    )
    parser.add_argument(
        "--record-mode",
        choices=get_args(RecordMode),
        default="once",
        help="what to record: all if the file does not exist yet (once, the default), what it does not have "
        "(new_episodes), everything anew (all), nothing (none)",
    )


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        metavar="memory|sqlite:PATH|redis://…",
        type=_store,
        default="memory",
        help="where conversations are kept: in memory (default), in a file, or in Redis, which many can share; "
        "an address with a password is better in SSECHAT_STORE, where ps does not show it",
    )
    parser.add_argument(
        "--workers", metavar="N", type=_count, default=1, help="processes that serve together (default: 1)"
    )
    parser.add_argument(
        "--lease",
        metavar="SECONDS",
        type=_seconds,
        default=10.0,
        help="the time within which the death of a worker is noticed by the others (default: 10)",
    )


def _add_logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log-format",
        choices=LOG_FORMATS,
        default="text",
        help="how standard error tells what happens: lines for people (text, the default), or an object a line",
    )
    parser.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        help="what it tells: calls and ends of answers from info on (the default)",
    )


def _add_life(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--idle",
        metavar="SECONDS",
        type=_seconds,
        default=math.inf,
        help="end when nobody has used it for so long (default: never)",
    )
    # How a kernel starts a gateway of the user's own: this file says where, and kernels choose who answers.
    parser.add_argument("--own", metavar="FILE", type=Path, help=argparse.SUPPRESS)


# ---- what the options take ----


def _host(text: str) -> str:
    host = text.strip().removeprefix("[").removesuffix("]")
    if not host:
        raise argparse.ArgumentTypeError("it is empty; 0.0.0.0 is every address")
    return host


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; expected 0 to 65535, 0 takes a free one")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers; expected 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; expected seconds, more than 0")
    return seconds


def _pace(text: str) -> float:
    try:
        pace = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a pace; expected a number, 0 or more") from None
    if not (math.isfinite(pace) and pace >= 0):
        raise argparse.ArgumentTypeError(f"pace is {pace:g}; expected 0 (at once) or more, and finite")
    return pace


def _dialect(name: str) -> str:
    known = known_dialects()
    if name != "auto" and name not in known:
        expected = ", ".join(sorted(known))
        raise argparse.ArgumentTypeError(f"{name!r} is not a dialect; expected auto, {expected}")
    return name


# Those who check the others are imported when they are needed: they come with a server's libraries.


def _token(text: str) -> Secret:
    from .gateway.access import must_be_token

    return Secret(_checked(text, must_be_token))


def _upstream(text: str) -> str:
    from .profiles import must_be_upstream

    return _address(text, must_be_upstream)


def _profile(name: str) -> str:
    from .profiles import PROFILES

    if name not in PROFILES:
        raise argparse.ArgumentTypeError(f"{name!r} is not a profile; expected one of {', '.join(PROFILES)}")
    return name


def _store(text: str) -> str:
    from .gateway.stores.opening import store_at

    return _address(text, store_at)


def _allowed_host(text: str) -> str:
    from .gateway.access import must_be_host

    return _checked(text, must_be_host)


def _origin(text: str) -> str:
    from .gateway.cors import origins

    return _checked(text, lambda origin: origins([origin]))


def _limit(text: str) -> str:
    from .gateway.limits import parse_limits

    return _checked(text, lambda word: parse_limits([word]))


def _address(text: str, check: Callable[[str], object]) -> str:
    """An address, which is a secret where it holds a password."""
    password = _password(text)
    checked = _checked(text, check, password)
    return Secret(checked) if password else checked


def _checked(text: str, check: Callable[[str], object], secret: str = "") -> str:
    try:
        check(text)
    except BadInput as error:
        said = str(error)
        raise argparse.ArgumentTypeError(said.replace(secret, "…") if secret else said) from None
    return text


def _password(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return parts.password or parse_qs(parts.query).get("password", [""])[0]


__all__ = ["LOG_FORMATS", "LOG_LEVELS", "Secret", "add_options"]

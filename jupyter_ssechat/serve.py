"""``jupyter ssechat serve``: the gateway as a server of its own, until a signal ends it.

Standard output gets one line, the address with the token; what happens is told on standard error, and neither
prompts nor keys are. The first SIGINT or SIGTERM lets every stream end with a terminal status; the second one
ends the process at once.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import secrets
import signal
import socket
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

from .cassette import RecordMode
from .dialects import DIALECTS
from .dialects.third_party import known_dialects
from .errors import BadInput
from .workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from .gateway.server import Gateway
    from .upstream import Upstream

    Opened = Callable[[socket.socket | None, str | None], Gateway]

MAX_TOKEN_BYTES = 4096
STOPPED_BY_ITSELF = 1
SIGNALS = (signal.SIGINT, signal.SIGTERM)

_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")


def add_serve(commands: Any) -> None:
    """Add ``serve``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "serve",
        help="run the gateway as a server of its own",
        description="Run the gateway in the foreground until Ctrl-C or SIGTERM. When it accepts connections it "
        "prints one line on standard output: listening on http://HOST:PORT/?token=TOKEN",
        epilog="Exit status: 0 ended by a signal; 1 cannot listen; 2 an option that cannot be used.",
    )
    _add_address(parser)
    _add_access(parser)
    _add_upstream(parser)
    _add_store(parser)
    _add_life(parser)
    parser.set_defaults(run=run_serve)


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
        help="the token of every call (default: a new one); other users of the machine can see it in ps",
    )
    token.add_argument("--token-file", metavar="FILE", help="a file that holds the token and nothing else")
    token.add_argument("--token-env", metavar="NAME", help="the environment variable that holds the token")
    parser.add_argument(
        "--allowed-host",
        metavar="HOST",
        nargs="+",
        action="extend",
        default=[],
        help="a further name, HOST or HOST:PORT, under which callers may ask; one or more",
    )
    parser.add_argument(
        "--cors",
        metavar="ORIGIN",
        nargs="+",
        action="extend",
        default=[],
        help="an origin, such as https://page.example, whose pages may read the answers; one or more",
    )


def _add_upstream(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--upstream",
        metavar="URL|demo|PROFILE",
        default="demo",
        help="who answers: the address of a model server, the built-in demo (default), or a profile",
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
        type=float,
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


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        metavar="memory|sqlite:PATH|redis://…",
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


def run_serve(args: argparse.Namespace) -> int:
    """Serve until a signal; raises ConnectionFailed where it cannot listen, BadInput for what cannot be used."""
    from .gateway.server import listen  # a server's libraries are not needed by the other commands

    if args.workers > 1 and (args.cassette or args.own or args.idle < math.inf):
        raise BadInput("--cassette and --idle are for one worker; leave --workers out")
    if args.workers > 1 and _store_of(args) == "memory":
        raise BadInput(
            f"{args.workers} workers cannot share a store in memory; expected --store sqlite:PATH or redis://…"
        )
    opened = _opened(args)
    if args.workers > 1:
        return _serve_together(args, opened, listen(args.host, args.port))
    with opened(None, _token(args)) as gateway, _told(args.own, gateway):
        asked_to_end = _until_signal(gateway)
        _announce(args, gateway.access.port, gateway.url, gateway.token)
        gateway.wait(args.idle)
        idle = gateway.alive and not asked_to_end
    _tell("stopped" if asked_to_end else "nobody used it" if idle else "the gateway ended by itself")
    return 0 if asked_to_end or idle else STOPPED_BY_ITSELF


def _opened(args: argparse.Namespace) -> Opened:
    """What opens the gateway that the options ask for; BadInput for what cannot be used."""
    from .gateway.server import Gateway
    from .gateway.settings import Settings
    from .gateway.stores.opening import store_at
    from .profiles import open_upstream

    def opens() -> Upstream:
        pace = 1.0 if args.pace is None else args.pace
        return open_upstream(
            args.upstream, model=args.model, api_key_env=args.api_key_env, dialect=args.dialect, pace=pace
        )

    upstream = opens() if args.cassette is None else _recording(opens, args)
    args.upstream_name = upstream.name
    store = store_at(_store_of(args))
    settings = Settings(keep_alive=args.keep_alive, lease=args.lease, assignable=args.own is not None)

    def open_gateway(listening: socket.socket | None, token: str | None) -> Gateway:
        return Gateway(
            upstream,
            host=args.host,
            port=args.port,
            token=token,
            allowed_hosts=tuple(args.allowed_host),
            cors=tuple(args.cors),
            settings=settings,
            store=store(),
            listening=listening,
        )

    return open_gateway


def _serve_together(args: argparse.Namespace, opened: Opened, listening: socket.socket) -> int:
    from .gateway.server import reachable

    token = _token(args) or secrets.token_urlsafe(24)

    def work() -> int:
        with opened(listening, token) as gateway:
            asked_to_end = _until_signal(gateway)
            gateway.wait()
        return 0 if asked_to_end else STOPPED_BY_ITSELF

    workers = Workers(args.workers, work)
    workers.start()
    port: int = listening.getsockname()[1]
    _announce(args, port, f"http://{reachable(args.host)}:{port}", token)
    asked_to_end = workers.wait()
    _tell("stopped" if asked_to_end else "the workers ended by themselves")
    return 0 if asked_to_end else STOPPED_BY_ITSELF


def _told(file: Path | None, gateway: Gateway) -> AbstractContextManager[None]:
    """Tell the user's kernels where the gateway listens, if it is their own."""
    if file is None:
        return contextlib.nullcontext()
    from .own_gateway import Whereabouts, told_in

    return told_in(file, Whereabouts(gateway.url, gateway.token))


def _recording(opens: Callable[[], Upstream], args: argparse.Namespace) -> Upstream:
    """A cassette before the upstream."""
    from .recording import recording

    return recording(opens, args.cassette, mode=args.record_mode, pace=args.pace or 0.0, dialect=args.dialect)


def _announce(args: argparse.Namespace, port: int, url: str, token: str) -> None:
    _tell(f"{args.upstream_name} answers; Ctrl-C ends the gateway")
    if advice := _how_others_reach(args.host, port, args.allowed_host):
        _tell(advice)
    print(f"listening on {url}/?token={quote(token, safe='')}", flush=True)


def _store_of(args: argparse.Namespace) -> str:
    return os.environ.get("SSECHAT_STORE", args.store) if args.store == "memory" else args.store


def _until_signal(gateway: Gateway) -> list[int]:
    """Let the first signal close the gateway, and the second one end the process; returns those that came."""
    came: list[int] = []

    def close(number: int, _: object) -> None:
        came.append(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        gateway.begin_to_close()
        with contextlib.suppress(OSError):  # print is not safe here, and nobody may listen any more
            os.write(sys.stderr.fileno(), b"jupyter-ssechat: ending; once more ends it at once\n")

    for each in SIGNALS:
        signal.signal(each, close)
    return came


def _how_others_reach(host: str, port: int, allowed: list[str]) -> str:
    """One line about who can call a gateway that other machines can connect to; "" for loopback."""
    if _LOOPBACK.fullmatch(host):
        return ""
    if allowed:
        return f"others reach it as {', '.join(allowed)}, where that leads to port {port}"
    name = "NAME" if host in ("0.0.0.0", "::") else host
    return f"others are refused until it is started with --allowed-host {name}, the name that they call it by"


def _token(args: argparse.Namespace) -> str | None:
    if args.token is not None:
        return _not_empty(args.token.strip(), "--token")
    if args.token_env is not None:
        return _not_empty(
            os.environ.get(args.token_env, "").strip(), f"the environment variable {args.token_env}"
        )
    return None if args.token_file is None else _not_empty(_first_of(args.token_file), args.token_file)


def _first_of(file: str) -> str:
    try:
        with open(file, "rb") as stream:
            content = stream.read(MAX_TOKEN_BYTES + 1)
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_TOKEN_BYTES:
        raise BadInput(f"{file} is larger than {MAX_TOKEN_BYTES} bytes; expected the token and nothing else")
    return content.decode("utf-8", "replace").strip()


def _not_empty(token: str, where: str) -> str:
    if not token:
        raise BadInput(f"{where} is empty; expected a token, or leave the option out to have one made")
    return token


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


def _dialect(name: str) -> str:
    known = known_dialects()
    if name != "auto" and name not in known:
        expected = ", ".join(sorted(known))
        raise argparse.ArgumentTypeError(f"{name!r} is not a dialect; expected auto, {expected}")
    return name


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; expected seconds, more than 0")
    return seconds


def _tell(line: str) -> None:
    print(f"jupyter-ssechat: {line}", file=sys.stderr, flush=True)


__all__ = ["add_serve", "run_serve"]

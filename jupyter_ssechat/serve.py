"""``jupyter ssechat serve``: the gateway as a server of its own, until a signal ends it.

Standard output gets one line, the address with the token; what happens is told on standard error, and neither
prompts nor keys are (`serve_log`). The first SIGINT or SIGTERM lets every stream end with a terminal status, or
hands it over; the second one ends the process at once.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import shutil
import signal
import socket
import sys
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .errors import BadInput
from .gateway.journal import tell
from .gateway.metrics_folder import shared_folder
from .serve_config import omit_defaults, settled
from .serve_options import add_options
from .serve_token import token_of
from .serve_users import limits_from, users_of
from .workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from .gateway.metrics import Metrics
    from .gateway.server import Gateway
    from .upstream import Upstream

    Opened = Callable[..., Gateway]

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
    add_options(parser)
    omit_defaults(parser)
    parser.set_defaults(run=run_serve)


def run_serve(given: argparse.Namespace) -> int:
    """Serve until a signal; raises ConnectionFailed where it cannot listen, BadInput for what cannot be used."""
    args = settled(given, add_options)
    _refuse_together(args)
    _begin_to_log(args)
    return _serve_alone(args) if args.workers == 1 else _serve_together(args)


def _refuse_together(args: argparse.Namespace) -> None:
    if args.workers == 1:
        return
    if args.cassette or args.own or args.idle < math.inf:
        raise BadInput("--cassette and --idle are for one worker; leave --workers out")
    if _store_of(args) == "memory":
        raise BadInput(
            f"{args.workers} workers cannot share a store in memory; expected --store sqlite:PATH or redis://…"
        )


def _begin_to_log(args: argparse.Namespace) -> None:
    from .serve_log import begin_to_log

    quiet = args.own is not None  # what it says is kept in a file that grows
    begin_to_log(args.log_format, args.log_level or ("warning" if quiet else "info"))


def _serve_alone(args: argparse.Namespace) -> int:
    opened = _opened(args)
    with opened(token=token_of(args)) as gateway, _told(args.own, gateway):
        asked_to_end = _until_signal(gateway, args)
        _announce(args, gateway.access.port, gateway.url, gateway.token)
        gateway.wait(args.idle)
        idle = gateway.alive and not asked_to_end
    return _stopped(args, "stopped" if asked_to_end else "nobody used it" if idle else "")


def _serve_together(args: argparse.Namespace) -> int:
    with shared_folder() as folder:
        from .gateway.metrics import Metrics, forget_process
        from .gateway.server import listen, reachable
        from .gateway.users import new_token

        opened, token = _opened(args), token_of(args) or ("" if args.users else new_token())
        listening, parent = listen(args.host, args.port), os.getpid()

        def work() -> int:
            with opened(token=token, listening=listening, metrics=Metrics(folder=folder)) as gateway:
                asked_to_end = _until_told(gateway)
                gateway.wait()
            if os.getppid() != parent:  # it was killed, and cannot tidy up
                shutil.rmtree(folder, ignore_errors=True)
            return 0 if asked_to_end else STOPPED_BY_ITSELF

        workers = Workers(
            args.workers,
            work,
            on_end=partial(_say_ending, args),
            on_death=partial(forget_process, folder=folder),
        )
        workers.start()
        port: int = listening.getsockname()[1]
        _announce(args, port, f"http://{reachable(args.host)}:{port}", token)
        asked_to_end = workers.wait()
    return _stopped(args, "stopped" if asked_to_end else "")


def _stopped(args: argparse.Namespace, why: str) -> int:
    """The exit status, once it has been told."""
    status = 0 if why else STOPPED_BY_ITSELF
    tell("stopped", status=status)
    _say(args, why or "the gateway ended by itself")
    return status


def _opened(args: argparse.Namespace) -> Opened:
    """What opens the gateway that the options ask for; BadInput for what cannot be used."""
    from .gateway.server import Gateway
    from .gateway.settings import Settings
    from .gateway.stores.opening import store_at
    from .profiles import open_upstream

    def opens() -> Upstream:
        pace = 1.0 if args.pace is None else args.pace
        return open_upstream(
            args.profile or args.upstream,
            model=args.model,
            api_key_env=args.api_key_env,
            dialect=args.dialect,
            pace=pace,
        )

    upstream = opens() if args.cassette is None else _recording(opens, args)
    args.upstream_name = upstream.name
    store = store_at(_store_of(args))
    each, in_all = limits_from(args)
    settings = Settings(
        keep_alive=args.keep_alive,
        lease=args.lease,
        each=each,
        in_all=in_all,
        assignable=args.own is not None,
    )
    users_of(args, None)  # what is wrong with them is said before anything listens

    def open_gateway(
        *, token: str | None, listening: socket.socket | None = None, metrics: Metrics | None = None
    ) -> Gateway:
        return Gateway(
            upstream,
            host=args.host,
            port=args.port,
            token=token,
            users=users_of(args, token),
            allowed_hosts=tuple(args.allowed_host),
            cors=tuple(args.cors),
            settings=settings,
            store=store(),
            listening=listening,
            metrics=metrics,
        )

    return open_gateway


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
    tell("started", url=url, upstream=args.upstream_name, store=_kind(_store_of(args)), workers=args.workers)
    _say(args, f"{args.upstream_name} answers; Ctrl-C ends the gateway")
    if advice := _how_others_reach(args.host, port, args.allowed_host):
        _say(args, advice)
    query = f"?token={quote(token, safe='')}" if token else ""
    print(f"listening on {url}/{query}", flush=True)


def _kind(store: str) -> str:
    """A store without its path, host and password."""
    return store.partition(":")[0]


def _store_of(args: argparse.Namespace) -> str:
    return os.environ.get("SSECHAT_STORE", args.store) if args.store == "memory" else args.store


def _until_signal(gateway: Gateway, args: argparse.Namespace) -> list[int]:
    """Let the first signal close the gateway, and the second one end the process; returns those that came."""
    came: list[int] = []

    def close(number: int, _: object) -> None:
        came.append(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        gateway.begin_to_close()
        _say_ending(args)

    for each in SIGNALS:
        signal.signal(each, close)
    return came


def _until_told(gateway: Gateway) -> list[int]:
    """Let a signal close the gateway of a worker, once: it is its parent that ends it at once."""
    came: list[int] = []

    def close(number: int, _: object) -> None:
        came.append(number)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        gateway.begin_to_close()

    signal.signal(signal.SIGTERM, close)
    return came


def _say_ending(args: argparse.Namespace) -> None:
    """Say it in a signal handler, where print is not safe, and nobody may listen any more."""
    if args.log_format == "text":
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), b"jupyter-ssechat: ending; once more ends it at once\n")


def _how_others_reach(host: str, port: int, allowed: list[str]) -> str:
    """One line about who can call a gateway that other machines can connect to; "" for loopback."""
    if _LOOPBACK.fullmatch(host):
        return ""
    if allowed:
        return f"others reach it as {', '.join(allowed)}, where that leads to port {port}"
    name = "NAME" if host in ("0.0.0.0", "::") else host
    return f"others are refused until it is started with --allowed-host {name}, the name that they call it by"


def _say(args: argparse.Namespace, line: str) -> None:
    """Say something to whoever started it; a machine that reads the log has the events."""
    if args.log_format == "text":
        print(f"jupyter-ssechat: {line}", file=sys.stderr, flush=True)


__all__ = ["add_serve", "run_serve"]

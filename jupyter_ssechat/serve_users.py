"""``--users``, ``--limit-user``, ``--limit-all`` → who may call, and how much; ``token`` makes a user's token."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from .errors import BadInput
from .gateway.journal import WARNING, tell

if TYPE_CHECKING:
    from .gateway.limits import Limits
    from .gateway.users import UsersFile


def limits_from(args: argparse.Namespace) -> tuple[Limits, Limits]:
    """What each user may take, and all together; BadInput for what is no limit."""
    from .gateway.limits import parse_limits

    each, in_all = parse_limits(args.limit_user), parse_limits(args.limit_all)
    if in_all.request is not None:
        raise BadInput("--limit-all request is of no use; expected --limit-user request=SIZE, for one call")
    return each, in_all


def users_of(args: argparse.Namespace, token: str | None) -> UsersFile | None:
    """The users of the file, with whoever has the `token`; None where one token is everybody's.

    BadInput for a file that cannot be used.
    """
    from .gateway.users import UsersFile, everybody

    if args.users is None:
        return None
    each, _ = limits_from(args)
    others = [everybody(token, each)] if token else []
    return UsersFile(args.users, each=each, others=others, complain=_complain)


def _complain(said: str) -> None:
    tell("users unchanged", WARNING, cause=said)


def add_token(commands: Any) -> None:
    """Add ``token NAME``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "token",
        help="make the token of a user of the gateway",
        description="Print a new token for a user, on standard error, where it stands once and is not kept; and on "
        "standard output what to add to the file of serve --users, which has only its digest.",
    )
    parser.add_argument("name", metavar="NAME", help="the user: letters, digits and . _ @ + -")
    parser.set_defaults(run=run_token)


def run_token(args: argparse.Namespace) -> int:
    """Print a new token and its entry; BadInput for a name that nobody can have."""
    from .gateway.users import digest_of, is_name, new_token

    if not is_name(args.name):
        raise BadInput(f"{args.name!r} is no name of a user; expected letters, digits and . _ @ + -")
    token = new_token()
    name = args.name if args.name.isidentifier() else f'"{args.name}"'
    print(f'[users.{name}]\ntoken_sha256 = "{digest_of(token)}"')
    sys.stdout.flush()
    print(f"the token of {args.name}, which is shown once: {token}", file=sys.stderr)
    return 0


__all__ = ["add_token", "limits_from", "run_token", "users_of"]

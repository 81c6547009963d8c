"""``--token``, ``--token-file``, ``--token-env`` → the token."""

from __future__ import annotations

import argparse
import os

from .errors import BadInput

MAX_TOKEN_BYTES = 4096


def token_of(args: argparse.Namespace) -> str | None:
    """The token that the options tell, None where one is to be made; BadInput for what holds none."""
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


__all__ = ["token_of"]

"""The gateway behind a Jupyter server: started and reached by jupyter-server-proxy, with the server's own login.

Its address is ``…/jupyter-ssechat`` below that of the server. The token stays between the proxy and the gateway: who
has come through the login needs no other one.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from typing import Any

TOKEN = "JUPYTER_SSECHAT_TOKEN"
OPTIONS = "JUPYTER_SSECHAT_SERVE"
"""The environment variable of the Jupyter server with further options of ``serve``, as in a shell."""

START_SECONDS = 30


def gateway() -> dict[str, Any]:
    """The entry for jupyter-server-proxy; called by it, once for each Jupyter server."""
    token = secrets.token_urlsafe(32)
    options = shlex.split(os.environ.get(OPTIONS, ""))
    serve = [sys.executable, "-m", "jupyter_ssechat", "serve"]
    return {
        "command": [*serve, "--log-level", "warning", *options, "--port", "{port}", "--token-env", TOKEN],
        "environment": {TOKEN: token},
        "timeout": START_SECONDS,
        "request_headers_override": {"Authorization": f"Bearer {token}", "Host": "127.0.0.1:{port}"},
        "launcher_entry": {"enabled": False},
    }


__all__ = ["OPTIONS", "TOKEN", "gateway"]

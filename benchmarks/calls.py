"""Calls of a server as bytes, and what they give."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

Read = Callable[[http.client.HTTPResponse], bytes]


def post_bytes(port: int, path: str, token: str, body: Any) -> bytes:
    """A POST as it is written to a socket."""
    data = json.dumps(body)
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n{data}"
    ).encode()


def post(port: int, path: str, token: str, body: Any, read: Read = http.client.HTTPResponse.read) -> bytes:
    """Call a server, and leave with what `read` takes of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("POST", path, json.dumps(body), {"authorization": f"Bearer {token}"})
        return read(connection.getresponse())
    finally:
        connection.close()


def create_session(port: int, token: str) -> str:
    """Open a session of a gateway."""
    answer = post(port, "/api/v0/chat_session/create", token, {})
    return json.loads(answer)["data"]["biz_data"]["id"]

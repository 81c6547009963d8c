"""What stands in a cell, and what it points to → the prompt: variables, files, other cells, the last exception."""

from __future__ import annotations

import inspect
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .errors import BadInput, SSEChatError
from .excerpts import MAX_FILE_CHARS, cut, excerpt_of, fenced
from .explanation import explained
from .expression import evaluated
from .reply import Reply
from .template import Mark, filled
from .wire_json import excerpt

EXPLAIN = "Explain this exception: what went wrong, where, and why. Then show how to fix it, with the corrected code."


def composed(
    body: str,
    shell: Any,
    *,
    variables: bool = False,
    files: Iterable[str] = (),
    cells: Iterable[int] = (),
    explain: bool = False,
) -> str:
    """The prompt: files, cells and the last exception first, then the body.

    With `variables` the ``{{expressions}}`` of the body are filled in from the namespace of `shell`. `files` are
    paths of text files, `cells` the numbers of ``In[…]``. Without a body `explain` asks what went wrong. Raises
    BadInput, in one line, for what is not there or cannot be told.
    """
    if variables:
        body = filled(body, lambda mark: _value_of(mark, shell.user_ns))
    if explain and not body.strip():
        body = EXPLAIN
    pieces = [_file(path) for path in files]
    pieces += [_cell(number, shell) for number in cells]
    if explain:
        pieces.append(_exception(shell))
    return "\n\n".join([*pieces, body]) if pieces else body


# -- variables ----------------------------------------------------------------------------------------------


def _value_of(mark: Mark, namespace: dict[str, Any]) -> str:
    try:
        value = evaluated(mark.expression, namespace)
        return format(value, mark.format) if mark.format else _text_of(value)
    except Exception as error:  # what an object of the user's does when it is to be text may be anything
        said = excerpt(str(error), 400)
        raise BadInput(f"{mark}: {said}; write \\{{{{ for braces that are text") from None


def _text_of(value: object) -> str:
    """An answer by its text, a function or a class by its source, all else by its excerpt."""
    if isinstance(value, Reply):
        return value.content
    if inspect.isfunction(value) or inspect.isclass(value):
        try:
            return cut(inspect.getsource(value).rstrip())
        except (OSError, TypeError):
            pass
    return excerpt_of(value)


# -- files --------------------------------------------------------------------------------------------------


def _file(name: str) -> str:
    path = Path(name).expanduser()
    try:
        if stat.S_ISFIFO(path.stat().st_mode):  # to open one waits for who writes to it
            raise BadInput(f"--file {name} is a pipe; expected a text file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_CHARS + 1)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise BadInput(f"--file {name} cannot be read: {error.strerror or error}") from None
    text = _decoded(data, name)
    language = path.suffix.lstrip(".").lower()
    left_out = size - len(data[:MAX_FILE_CHARS])
    said = f"{name} (the first {MAX_FILE_CHARS:,} of {size:,} bytes)" if left_out > 0 else name
    return f"{said}:\n{fenced(text, language if language.isalnum() else '')}"


def _decoded(data: bytes, name: str) -> str:
    """UTF-8 as text, without half a character at a cut; what is none is refused."""
    whole = len(data) <= MAX_FILE_CHARS
    data = data[:MAX_FILE_CHARS]
    try:
        if b"\0" in data:
            raise BadInput(_binary(name))
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if whole or error.start < len(data) - 3:
            raise BadInput(_binary(name)) from None
        return data[: error.start].decode("utf-8-sig")


def _binary(name: str) -> str:
    return f"--file {name} is no text; expected UTF-8, and --image for a picture"


# -- cells --------------------------------------------------------------------------------------------------


def _cell(number: int, shell: Any) -> str:
    history = shell.history_manager
    sources: list[str] = history.input_hist_raw
    if not 0 < number < len(sources):
        ran = f"In[1] to In[{len(sources) - 1}] ran" if len(sources) > 1 else "no cell has run yet"
        raise BadInput(f"--cell {number}: there is no In[{number}]; {ran} in this session")
    output = "\n".join(filter(None, _outputs(number, shell)))
    told = f"Its output:\n{fenced(cut(output))}" if output else "Of its output the kernel keeps nothing."
    return f"The cell In[{number}]:\n{fenced(sources[number], 'python')}\n{told}"


def _outputs(number: int, shell: Any) -> Iterator[str]:
    """What the kernel remembers: printed text and failures with IPython 9, the result with any."""
    result: dict[int, Any] = shell.user_ns.get("Out", {})
    for output in getattr(shell.history_manager, "outputs", {}).get(number, []):
        if output.output_type in ("out_stream", "err_stream"):
            yield "".join(output.bundle.get("stream", [])).rstrip()
        elif output.output_type == "display_data" or number not in result:
            yield _plain(output.bundle.get("text/plain", ""))
    if number in result:
        yield _text_of(result[number])
    failure = getattr(shell.history_manager, "exceptions", {}).get(number)
    if failure:
        yield f"{failure.get('ename')}: {failure.get('evalue')}"


def _plain(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


# -- the last exception -------------------------------------------------------------------------------------


def _exception(shell: Any) -> str:
    error: BaseException | None = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if error is None:
        raise BadInput("there is no exception to explain: no cell has failed in this session")
    if isinstance(error, SSEChatError):
        raise BadInput(
            "the last exception is one of the chat itself, which says what to do; run your failing cell again"
        )

    def title(file: str) -> str | None:
        name = shell.compile.format_code_name(file)
        return f"{name[0].lower()} {name[1]}" if name else None

    return f"The last exception:\n{fenced(explained(error, title, os.environ))}"


__all__ = ["composed"]

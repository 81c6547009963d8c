"""A reply → a cell's outputs: the live view while it streams, native Markdown when it has ended.

A widget's output says "model not found" when a notebook is reopened without its kernel; Markdown always
shows. So the view retires when the answer is finished, and the answer stands as Markdown; an answer that was
stopped or failed keeps its view, folded, with Resume, above the text there is.
"""

# IPython's own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import re
from typing import Any

from IPython.display import DisplayHandle, display

from .message import Message
from .patches import Patch
from .projection import to_markdown
from .reply import Reply
from .widget import ChatView
from .wire_json import as_object, as_text

# JupyterLab with our extension draws the Markdown beside it with figures and Copy; nobody else knows it. It holds
# nothing: the text stands in the Markdown, and what differs from run to run in the metadata.
ANSWER = "application/vnd.jupyter-ssechat.answer.v1+json"
# The same before and after the view retires, so that nbval finds what was saved.
NOTHING = {"text/plain": ""}


class Presentation:
    """The outputs of one turn: its view, and below it its Markdown once there is some.

    A cell that waits settles its turn itself, before it ends; otherwise (`background`, or after a Resume) the
    consumer's thread does, which may only update what was displayed: so the Markdown has its place from
    the start. A view that is `kept` never retires while somebody may press its buttons.
    """

    def __init__(self, view: ChatView, *, background: bool, attended: bool, kept: bool = False) -> None:
        self._view = view
        self._attended = attended
        self._kept = kept
        self._handle = _show({"application/vnd.jupyter.widget-view+json": _reference(view), **NOTHING})
        self._text = _show(NOTHING) if background else None
        self._retired = False
        self._standing: tuple[dict[str, Any], dict[str, Any]] | None = None
        view.on_hello(self._hello)
        view.on_placed(self._placed)
        self._pages = 0
        self._origin: str | None = None
        self._reply: Reply | None = None

    def begin(self, reply: Reply) -> None:
        """The reply streams (again): the view opens, the text below waits for the new end."""
        self._reply = reply
        self._view.begin(reply)
        if self._text is not None and self._attended:  # else what a cell left is what is compared and saved
            self._text.update(NOTHING, raw=True)
            self._stand(NOTHING, {})

    def ready(self, reply: Reply) -> None:
        """The reply has its ids: the view may be told how to stop it by itself."""
        self._let_control()

    def push(self, patches: list[Patch]) -> None:
        """Pass a batch on to the view."""
        self._view.push(patches)

    def end(self, reply: Reply) -> None:
        """The reply has ended, for now."""
        self._view.end(reply)
        if self._text is not None and self._attended:
            self.settle(reply)

    def settle(self, reply: Reply) -> None:
        """Show how it ended: the text as Markdown; the view retires, or folds where it is still of use."""
        whole = reply.status in ("finished", "filtered")
        if not self._attended or (whole and not self._kept):
            self._retire()
        else:
            # A page that was reloaded may not get the text below: there the view alone has it.
            self._view.folded = self._pages < 2
        data, metadata = bundle(reply), figures(reply)
        if self._text is None:
            self._text = _show(data, metadata)
        else:
            self._text.update(data, raw=True, metadata=metadata)
        if self._attended:
            self._stand(data, metadata)

    def discard(self) -> None:
        """Nothing came of the turn: take the empty view away."""
        self._handle.update(NOTHING, raw=True)
        self._view.close()

    def close(self) -> None:
        """Its cell runs again: the outputs are gone, and so may be the view."""
        self._view.close()

    def _retire(self) -> None:
        if self._retired:
            return
        self._retired = True
        self._handle.update(NOTHING, raw=True)
        # The output goes, the widget stays: a page that was reloaded in mid-stream has nothing else. Where no
        # page can be, it goes too, and is not saved with the notebook.
        if not self._attended:
            self._view.close()

    def _hello(self, origin: str) -> None:
        self._origin = origin
        self._pages += 1
        self._let_control()
        if self._standing is not None:
            self._stand(*self._standing)

    def _stand(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Note what stands below the view, and tell the pages that have lost its place."""
        self._standing = data, metadata
        if self._pages > 1:
            self._view.place(data, metadata, retired=self._retired)

    def _placed(self) -> None:
        if self._reply is not None and self._reply.done:
            self._view.folded = True

    def _let_control(self) -> None:
        reply = self._reply
        if self._origin is None or reply is None or reply.done:
            return
        reply.grant(self._origin, self._view.let_control)


def show_text(reply: Reply) -> None:
    """Display a reply's text anew, as it stands."""
    _show(bundle(reply), figures(reply))


def show_history(messages: list[dict[str, Any]]) -> None:
    """Display a branch of a conversation, the oldest message first."""
    if not messages:
        print("nothing has been said yet")
        return
    who = {"USER": "You", "ASSISTANT": "Model"}
    parts = [
        f"**{who[one['role']]}** · {one['message_id']}\n\n{to_markdown(one.get('content') or '')}"
        for one in messages
    ]
    _show(
        {
            "text/markdown": "\n\n---\n\n".join(parts),
            "text/plain": "\n\n".join(one.get("content") or "" for one in messages),
        }
    )


def bundle(reply: Reply) -> dict[str, Any]:
    """A reply as the data of an output, for every host."""
    return {ANSWER: {}, "text/markdown": markdown(reply), "text/plain": plain(reply)}


def markdown(reply: Reply | Message) -> str:
    """The safe projection of a reply, with its sources, and how it ended if it is not whole."""
    return to_markdown(_with_calls(reply), reply.thinking, status_note=note(reply), sources=reply.sources)


def plain(reply: Reply | Message) -> str:
    """The answer for those who show no Markdown."""
    said, text = note(reply), _with_calls(reply)
    return f"{text}\n\n[{said}]" if said else text


def _with_calls(reply: Reply | Message) -> str:
    """The answer, and below it the calls of tools that the model asks for, as code."""
    return "\n\n".join([reply.content, *map(_call, reply.tool_calls)]).lstrip("\n")


def _call(call: dict[str, Any]) -> str:
    function = as_object(call.get("function"))
    name, arguments = as_text(function.get("name")), as_text(function.get("arguments"))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", arguments)), default=0))
    return f"Tool call: {' '.join(name.split())}\n\n{fence}json\n{arguments}\n{fence}"


def note(reply: Reply | Message) -> str:
    """How an answer ended that is not whole; empty for a whole one."""
    match reply.status:
        case "stopped":
            return "Stopped: this answer is not complete."
        case "interrupted":
            return "Interrupted: the connection broke, this answer is not complete."
        case "failed":
            return f"Failed: {reply.error.message if reply.error else 'for an unknown reason'}"
        case "filtered":
            return "Filtered: the model server withheld the rest."
        case "finished" if reply.finish_reason == "length":
            return "Cut: the limit of tokens was reached."
        case _:
            return ""


def figures(reply: Reply) -> dict[str, Any]:
    """What differs from run to run, as output metadata, which nbval does not compare."""
    fields = reply.to_dict()
    for text in ("content", "thinking"):
        del fields[text]
    timing = {"ttft": reply.ttft, "elapsed": reply.elapsed}
    fields |= {name: value and round(value, 3) for name, value in timing.items()}
    return {"ssechat": {**fields, "continuation": reply.continuation}}


def _reference(view: ChatView) -> dict[str, Any]:
    return {"version_major": 2, "version_minor": 0, "model_id": view.model_id}


def _show(bundle: dict[str, Any], metadata: dict[str, Any] | None = None) -> DisplayHandle:
    handle = display(bundle, raw=True, metadata=metadata or {}, display_id=True)
    assert handle is not None
    return handle

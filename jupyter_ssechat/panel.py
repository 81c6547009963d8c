"""A chat → the browser: the whole conversation and an input box, as one anywidget.

Each answer has numbered batches of its own, as in a `ChatView`; which turns are shown is told by what changes
of them. The synced trait `conversation` holds all of it, and is only ever sent when a browser asks for the
state (open, reload, a second view).
"""

# ipywidgets has no types: what comes from it is unknown to the checker.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import anywidget
import traitlets

from .chat import Chat
from .consumer import shared_consumer
from .conversation import Conversation
from .errors import BadInput
from .kernel import open_route
from .panel_text import PanelText
from .reply import Reply
from .widget import STATIC, makes_layout
from .wire_json import as_text, is_object

TRAITS = "value, label, placeholder, disabled and layout"
ACTIONS = {"send", "edit", "regenerate", "resume", "stop", "switch"}
OnReply = Callable[[Reply], object]


class ChatPanel(anywidget.AnyWidget):
    """A conversation with an input box, for a cell, a sidecar or a layout of ipywidgets.

    It shows every answer of its `chat`, the built-in demo model's if none is given, whoever asks. `value` is the
    draft in the box, `status` the state of the last answer ("" before the first), `busy` whether one streams;
    they can be observed and linked. Observers of `status` and `busy` are called on the thread that streams, so
    they must not block. Unknown keywords raise TypeError.
    """

    _esm = STATIC / "widget.js"
    _css = STATIC / "widget.css"

    kind = traitlets.Unicode("panel", read_only=True, help="which of the bundle's views this is").tag(
        sync=True
    )
    conversation = traitlets.Dict(help="the turns and their answers; see get_state()").tag(sync=True)
    value = traitlets.Unicode("", help="the draft in the input box").tag(sync=True)
    status = traitlets.Unicode("", help="the state of the last answer").tag(sync=True)
    busy = traitlets.Bool(False, help="whether an answer streams").tag(sync=True)
    label = traitlets.Unicode("Chat", help="the accessible name").tag(sync=True)
    placeholder = traitlets.Unicode("Ask something", help="what an empty box says").tag(sync=True)
    disabled = traitlets.Bool(False, help="whether nothing can be asked").tag(sync=True)

    def __init__(self, chat: Chat | None = None, **traits: Any) -> None:
        own = {"kind", "conversation", "status", "busy"}
        unknown = [name for name in traits if name in own or not self.has_trait(name)]
        if unknown:
            raise TypeError(f"ChatPanel has no {unknown[0]!r} to be set; it has {TRAITS}")
        self._on_reply: list[OnReply] = []
        self._pages = 0
        self._conversation = Conversation(
            chat or Chat(), self._tell, changed=self._changed, ended=self._call_back
        )
        self._own_layout = makes_layout(traits)
        self._text = PanelText(self._conversation.said, self._stand)
        self._conversation.open()
        super().__init__(**traits)
        open_route(self.comm)
        self._show_state()
        self.on_msg(self._received)

    def __repr__(self) -> str:
        return "ChatPanel()"

    def _ipython_display_(self, **_: Any) -> None:
        """Display the panel, and folded below it the text that stays in the notebook."""
        data, metadata = _bundle(self)
        self._text.show(data, metadata)

    @property
    def chat(self) -> Chat:
        """The conversation that is shown."""
        return self._conversation.chat

    def send(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, prompt: str, **options: Any
    ) -> Reply:
        """Ask below what is shown and return at once; `options` are those of `Chat.send`.

        While an answer streams the question waits for its end. (A widget's own `send`, of messages to the
        browser, is not for this one.)
        """
        if not isinstance(prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"send() takes the prompt, a text, not {type(prompt).__name__}")
        return self.chat.send(prompt, **options)

    def _tell(self, message: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        super().send(message, buffers=buffers)

    def on_reply(self, callback: OnReply, remove: bool = False) -> None:
        """Call back with each reply that has ended, on a thread of its own; `remove` takes the callback back.

        What the callback raises is said in the panel.
        """
        if remove:
            self._on_reply.remove(callback)
        else:
            self._on_reply.append(callback)

    def close(self) -> None:
        """Take the panel away; its chat stays as it is."""
        if hasattr(self, "_conversation"):
            self._conversation.close()
            if self._own_layout and self.comm is not None:
                self.layout.close()
        super().close()

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """The traits; the conversation among them is of this moment, never of an earlier one."""
        with self._conversation.lock:
            state = cast("dict[str, Any]", super().get_state(key=key, drop_defaults=drop_defaults))
            if "conversation" in state or key is None:
                state["conversation"] = self._conversation.state()
            return state

    def _changed(self) -> None:
        self._show_state()
        if not self._conversation.busy:
            self._renew_text()

    def _show_state(self) -> None:
        # What an observer raises must not end the answer that it observes.
        try:
            self.status, self.busy = self._conversation.status, self._conversation.busy
        except Exception as error:
            self._complain("an observer of the panel", error)

    def _call_back(self, reply: Reply) -> None:
        for callback in self._on_reply:
            shared_consumer().submit(self._call(callback, reply))

    async def _call(self, callback: OnReply, reply: Reply) -> None:
        try:
            await asyncio.to_thread(callback, reply)
        except Exception as error:
            self._complain("a callback of on_reply", error)

    def _renew_text(self, *, anew: bool = False) -> None:
        shared_consumer().submit(self._renewed(anew))

    async def _renewed(self, anew: bool) -> None:
        try:
            await asyncio.to_thread(self._text.renew, anew=anew)
        except Exception as error:
            self._complain("the text below the panel", error)

    def _stand(self, data: dict[str, Any]) -> None:
        """Tell the text to pages that were opened since the display: they get no update of that output."""
        if self._pages > 1:
            told = {"widget": self.model_id, "retired": False, "data": data, "metadata": {}}
            self._tell({"type": "outputs", **told})

    def _complain(self, who: str, error: Exception) -> None:
        self._tell({"type": "problem", "message": f"{who} failed: {type(error).__name__}: {_line(error)}"})

    def _received(self, _: Any, content: Any, __: Any) -> None:
        """Note what a browser asks for, on whatever thread it arrives; it is done on the consumer's."""
        if is_object(content):
            shared_consumer().call_soon(partial(self._take, content))

    def _take(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        # Nothing may raise or print on this thread.
        with suppress(Exception):
            if kind == "sync":
                self._conversation.sync(message.get("number"))
            elif kind == "hello" and isinstance(origin := message.get("origin"), str):
                self._conversation.greet(origin)
                self._pages += 1
                if self._pages > 1:
                    self._renew_text(anew=True)
            elif kind == "extras":  # once per page, when code or a formula is first shown
                self._tell({"type": "extras"}, [(STATIC / "extras.js").read_bytes()])
            elif kind in ACTIONS:
                self._tell({"type": "ack", **self._done(kind, message)})

    def _done(self, action: str, message: dict[str, Any]) -> dict[str, Any]:
        """Do what a browser asks for; returns whether it was done, and if not, why not, in one line."""
        known = {"id": message.get("id"), "number": message.get("number"), "action": action}
        try:
            self._do(action, message)
        except Exception as error:
            return {**known, "ok": False, "message": _line(error)}
        return {**known, "ok": True, "message": ""}

    def _do(self, action: str, message: dict[str, Any]) -> None:
        if self.disabled and action != "stop":
            raise BadInput("the panel is disabled")
        number, prompt = message.get("number"), as_text(message.get("prompt"))
        conversation = self._conversation
        match action:
            case "send":
                conversation.send(prompt)
            case "edit":
                conversation.edit(number, prompt)
            case "regenerate":
                conversation.regenerate(number)
            case "resume":
                conversation.resume(number)
            case "switch":
                conversation.switch(number, message.get("kind"), message.get("step"))
            case _:
                conversation.stop(number)


def _bundle(panel: ChatPanel) -> tuple[dict[str, Any], dict[str, Any]]:
    """The data and the metadata of a panel's output, as anywidget makes them."""
    bundle: Any = panel._repr_mimebundle_()  # pyright: ignore[reportPrivateUsage]
    return bundle if isinstance(bundle, tuple) else (bundle, {})  # a dict alone before anywidget 0.11


def _line(error: Exception) -> str:
    return " ".join(str(error).split())

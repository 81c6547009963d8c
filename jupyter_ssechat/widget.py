"""Batches → the browser: the anywidget view of one reply, and what it sends back.

Custom messages carry numbered batches of patches; the synced trait `snapshot` holds the whole document, and
is only ever sent when a browser asks for the state (open, reload, a second view). A browser applies batches
in order of `seq`, asks for a snapshot when one is missing, and checks length and CRC-32 at the end.
"""

# ipywidgets has no types: what comes from it is unknown to the checker.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import anywidget
import traitlets

from .batches import Batches, empty_document
from .errors import BadInput
from .patches import Patch
from .reply import Reply

STATIC = Path(__file__).parent / "static"
Action = Literal["stop", "resume"]


def makes_layout(traits: dict[str, Any]) -> bool:
    """Whether a widget with these traits makes a layout of its own, which nobody else can have."""
    return isinstance(traits.get("layout", {}), dict)


class ChatView(anywidget.AnyWidget):
    """An answer as it arrives, with Stop and Resume, and where it has a `prompt` with Regenerate and Edit.

    `status` is one of the states of protocols section 6. `folded` hides the text where it stands beside the
    view already. Unknown keywords raise TypeError.
    """

    _esm = STATIC / "widget.js"
    _css = STATIC / "widget.css"

    snapshot = traitlets.Dict(help="the document and its seq; see get_state()").tag(sync=True)
    status = traitlets.Unicode("streaming", help="the state of the answer").tag(sync=True)
    folded = traitlets.Bool(False, help="whether the text is hidden").tag(sync=True)
    label = traitlets.Unicode("Chat answer", help="the accessible name").tag(sync=True)
    prompt = traitlets.Unicode("", help="what was asked, where the view may ask it anew").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        unknown = [name for name in traits if not self.has_trait(name)]
        if unknown:
            raise TypeError(
                f"ChatView has no {unknown[0]!r}; it has status, folded, label, prompt and layout"
            )
        self._lock = threading.RLock()
        self._batches = Batches(self._tell)
        self._on_action: Callable[[Action], object] | None = None
        self._on_ask: Callable[[str], object] | None = None
        self._on_hello: Callable[[str], None] | None = None
        self._origin: str | None = None
        self._on_placed: Callable[[], object] | None = None
        self._own_layout = makes_layout(traits)
        super().__init__(**traits)
        self.on_msg(self._received)

    def __repr__(self) -> str:
        return "ChatView()"

    def close(self) -> None:
        """Take the view away, and with it its layout, which is a widget too."""
        if getattr(self, "_own_layout", False) and self.comm is not None:
            self.layout.close()
        super().close()

    def on_action(self, callback: Callable[[Action], object]) -> None:
        """Call back when Stop or Resume is pressed, which else reach the reply that is shown.

        It may be on any thread, so it must not block.
        """
        self._on_action = callback

    def on_ask(self, callback: Callable[[str], object]) -> None:
        """Call back with the prompt when Regenerate is pressed or an edited one is sent; it must not block either."""
        self._on_ask = callback

    def on_hello(self, callback: Callable[[str], None]) -> None:
        """Call back with the page's origin when a browser opens the view."""
        self._on_hello = callback

    def on_placed(self, callback: Callable[[], object]) -> None:
        """Call back when a page has put what `place` told it into its notebook."""
        self._on_placed = callback

    def place(self, data: dict[str, Any], metadata: dict[str, Any], *, retired: bool) -> None:
        """Tell pages what stands below the view, as the data of an output, and whether the view has retired.

        A page that was opened after the display gets no update of these outputs: JupyterLab has lost their ids.
        """
        told = {"widget": self.model_id, "retired": retired, "data": data, "metadata": metadata}
        self.send({"type": "outputs", **told})

    def let_control(self, grant: dict[str, Any]) -> None:
        """Tell the view how to stop this one stream by itself; never in a synced trait, where it would be saved."""
        self.send({"type": "control", **grant})

    def _tell(self, message: dict[str, Any]) -> None:
        self.send(message)

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """The traits; the snapshot among them is of this moment, never of an earlier one."""
        if not hasattr(self, "_batches"):
            return cast("dict[str, Any]", super().get_state(key=key, drop_defaults=drop_defaults))
        with self._lock:
            state: dict[str, Any] = super().get_state(key=key, drop_defaults=drop_defaults)
            if "snapshot" in state or key is None:
                state["snapshot"] = self._batches.snapshot()
            return state

    def push(self, patches: list[Patch]) -> None:
        """Apply a batch here and send it to every browser."""
        with self._lock:
            self._batches.push(patches)

    def begin(self, reply: Reply) -> None:
        """Show that the answer streams (again); another reply takes the place of the one before."""
        with self._lock:
            if self._batches.reply not in (None, reply):
                self.push([Patch("", "SET", {**empty_document(), "continued": False})])
            self._batches.reply = reply
            self.status = "streaming"
            self.folded = False

    def ready(self, reply: Reply) -> None:
        """The reply has its ids: a page may be told how to stop it by itself."""
        if self._on_hello is None:
            self._grant(reply)

    def _grant(self, reply: Reply) -> None:
        if self._origin is not None and not reply.done:
            reply.grant(self._origin, self.let_control)

    def end(self, reply: Reply) -> None:
        """Tell every browser how the text ought to read now."""
        with self._lock:
            self._batches.check()
            self.status = reply.status

    def _received(self, _: Any, content: Any, __: Any) -> None:
        if not isinstance(content, dict):
            return
        data = cast("dict[str, Any]", content)
        match data.get("type"):
            case "sync":
                with self._lock:
                    self.send({"type": "snapshot", **self._batches.snapshot()})
            case "stop" | "resume" as action:
                self._answer(data, partial(self._act, action))
            case "regenerate":
                self._answer(data, partial(self._ask, self.prompt))
            case "edit":
                self._answer(data, partial(self._ask, data.get("prompt")))
            case "hello":
                self._greet(data.get("origin"))
            case "placed" if self._on_placed is not None:
                self._on_placed()
            case "extras":
                self._hand_extras()
            case _:
                pass

    def _greet(self, origin: Any) -> None:
        # Nothing may raise or print from a comm callback, and a greeting asks for no answer.
        with suppress(Exception):
            if not isinstance(origin, str):
                return
            self._origin = origin
            if self._on_hello is not None:
                self._on_hello(origin)
            elif self._batches.reply is not None:
                self._grant(self._batches.reply)

    def _hand_extras(self) -> None:
        # Once per page, when code or a formula is first shown: too heavy to ride with every widget.
        with suppress(OSError):
            self.send({"type": "extras"}, buffers=[(STATIC / "extras.js").read_bytes()])

    def _act(self, action: Action) -> None:
        reply = self._batches.reply
        if self._on_action is not None:
            self._on_action(action)
        elif reply is not None and action == "stop":
            reply.ask_to_stop()
        elif reply is not None:
            reply.resume()

    def _ask(self, prompt: Any) -> None:
        if self._on_ask is None or not isinstance(prompt, str):
            raise BadInput("this view cannot ask anew; run its cell again")
        self._on_ask(prompt)

    def _answer(self, request: dict[str, Any], act: Callable[[], None]) -> None:
        """Do what was pressed, and say whether it went well."""
        ok, said = True, ""
        try:
            act()
        except Exception as error:
            ok, said = False, " ".join(str(error).split())
        self.send(
            {"type": "ack", "id": request.get("id"), "action": request["type"], "ok": ok, "message": said}
        )

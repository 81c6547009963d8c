"""A cell → a turn: the magics ``%%chat`` and ``%chat``."""

# IPython's own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any, cast

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from traitlets import Bool, Dict, Float, Int, TraitError, Unicode, validate

from .cell import STOP_SECONDS, Kept, cell_of
from .cell_turns import CellTurn, CellTurns, sending, standing
from .chat import Chat
from .consumer import shared_consumer
from .deadlines import Deadlines
from .errors import BadInput
from .exchange import Patience
from .gateway.server import close_embedded
from .images import image_urls
from .keys import TypedKey, typed_key
from .options import CELL, CONNECT, HELP, asking, cell_options, documented, parsed, token, use_options
from .profiles import PROFILES, local_servers, open_upstream
from .reply import Reply, View
from .upstream import Upstream

# The traits that say who answers, and how.
_UPSTREAM = ["upstream", "url", "dialect", "api_key_env", "deadlines", "retries", "pace"]


@magics_class
class ChatMagics(Magics):
    """Chat with a language model in cells; every trait is set by ``%config ChatMagics.NAME = VALUE``."""

    upstream = Unicode("demo", help="demo, a profile, or the address of a model server").tag(config=True)
    url = Unicode("", help="the address of a server of the profile's kind, if not its own").tag(config=True)
    dialect = Unicode("auto", help="the wire of the model server; auto: told by its address").tag(config=True)
    api_key_env = Unicode("", help="the environment variable that holds the server's key").tag(config=True)
    gateway = Unicode("", help="the address of another gateway; empty for the embedded one").tag(config=True)
    token_env = Unicode("", help="the environment variable that holds the gateway's token").tag(config=True)
    deadlines = Dict(
        value_trait=Float(allow_none=True),
        key_trait=Unicode(),
        help="seconds a model server may take: connect, first_byte, first_token, silence, idle, total; None: no end",
    ).tag(config=True)
    retries = Int(2, min=0, max=100, help="how often a model server is asked again").tag(config=True)
    model = Unicode("", help="the model to ask; empty for the server's choice").tag(config=True)
    system = Unicode("", help="the system prompt").tag(config=True)
    thinking = Bool(True, help="whether to let the model think").tag(config=True)
    background = Bool(False, help="whether %%chat returns at once, as with --bg").tag(config=True)
    keep_view = Bool(False, help="whether the view of a finished answer stays, with Regenerate and Edit").tag(
        config=True
    )
    pace = Float(
        1.0, min=0.0, max=1000.0, help="how the demo model waits: 1 like a real one, 0 not at all"
    ).tag(config=True)

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._cell = cell_of(shell)
        self._chats: dict[str, Chat] = {}
        self._turns = CellTurns()
        self._name = "default"
        self._last: Reply | None = None
        self._token: str | None = None
        self._key: TypedKey | None = None
        self.observe(self._forget_connections, ["gateway", "token_env"])
        self.observe(self._use_anew, _UPSTREAM)

    @validate("deadlines")
    def _checked_deadlines(self, proposal: dict[str, Any]) -> dict[str, float | None]:
        try:
            _deadlines(proposal["value"])
        except BadInput as error:
            raise TraitError(str(error)) from None
        return proposal["value"]

    # -- %%chat ---------------------------------------------------------------------------------------------

    @cell_magic("chat")
    @no_var_expand
    @documented(CELL)
    def chat_cell(self, line: str, cell: str) -> None:
        """Ask a model what stands in the cell; thinking and answer appear while they arrive."""
        options = cell_options(line)
        chat = self._chat(options.session, new=options.new)
        prompt = cell.strip("\n")
        images = self._images(options.image or [])
        session, cell_id, asked = self._name, self._cell.id, asking(options)
        turn = None if options.append or options.new else self._turns.get(session, cell_id, chat)
        background = (options.bg or self.background) and self._cell.attended

        def keep(reply: Reply) -> None:
            self._last = reply
            self._turns.put(session, cell_id, CellTurn(reply.prompt, images, reply))
            if options.out and self.shell is not None:
                self.shell.user_ns[options.out] = reply

        def again(reply: Reply, prompt: str, *, view: View) -> Reply:
            fresh = sending(chat, prompt, images, standing(chat, reply, images), asked)(view=view)
            keep(fresh)
            return fresh

        if turn is not None:
            turn.reply.dismiss()
        kept = Kept(prompt, again) if self.keep_view and self._cell.attended else None
        self._cell.run(sending(chat, prompt, images, turn, asked), keep, background=background, kept=kept)

    def _images(self, names: list[str]) -> list[str]:
        """Pictures by the names of variables that hold them, or as files and addresses."""
        variables: dict[str, Any] = self.shell.user_ns if self.shell is not None else {}
        return [url for name in names for url in image_urls(variables.get(name, name))]

    # -- %chat ----------------------------------------------------------------------------------------------

    @line_magic("chat")
    @no_var_expand
    def chat_line(self, line: str) -> None:
        """Control the last answer, the conversation, and what it talks to; `%chat help` lists all."""
        name, _, rest = line.strip().partition(" ")
        command = self._commands().get(name or "help")
        if command is None:
            raise UsageError(f"%chat {name}: unknown; expected one of {', '.join(self._commands())}")
        command(rest.strip())

    def _commands(self) -> dict[str, Callable[[str], None]]:
        return {
            "stop": self._stop,
            "resume": self._resume,
            "continue": self._resume,
            "regenerate": self._regenerate,
            "show": self._show,
            "status": self._status,
            "history": self._history,
            "new": self._new,
            "use": self._use,
            "models": self._models,
            "connect": self._connect,
            "help": lambda rest: print(HELP),
        }

    def _stop(self, _: str) -> None:
        reply = self._latest()
        if reply.done:
            print(f"nothing to stop: {reply.one_line()}")
            return
        reply.ask_to_stop()
        reply.over.wait(STOP_SECONDS)
        print(reply.one_line())

    def _resume(self, _: str) -> None:
        reply = self._latest()
        if not reply.done:
            print("the answer is streaming already")
            return

        def resumed(view: View | None = None, on_delta: Any = None) -> Reply:
            reply.show_in(view, on_delta)
            return reply.resume()

        self._cell.run(resumed, self._remember)

    def _regenerate(self, _: str) -> None:
        self._cell.run(self._chat().regenerate, self._remember)

    def _remember(self, reply: Reply) -> None:
        self._last = reply

    def _show(self, _: str) -> None:
        self._cell.show(self._latest())

    def _status(self, _: str) -> None:
        chat = self._chat()
        rows = {
            "gateway": self.gateway.partition("?")[0] or f"{chat.gateway} (embedded)",
            "upstream": chat.upstream or "(the gateway's)",
            "dialect": chat.dialect or "(the gateway's)",
            "key": self._key_from(),
            "model": self.model or "(the server's choice)",
            "session": f"{self._name}, {len(chat.history())} messages",
            "last answer": self._last.phase if self._last else "none yet",
        }
        print("\n".join(f"{name + ':':13}{value}" for name, value in rows.items()))

    def _key_from(self) -> str:
        """Where the key comes from; never the key."""
        profile = PROFILES.get(self.upstream)
        if self._typed_key():
            return "typed in, kept in memory"
        name = self.api_key_env or (profile.key_env if profile else "")
        return f"from {name}" if name else "none"

    def _history(self, _: str) -> None:
        self._cell.show_history(self._chat().branch())

    def _new(self, _: str) -> None:
        self._begin_anew()
        print("a new conversation begins with the next %%chat")

    def _begin_anew(self) -> None:
        self._chat().new()
        self._turns.forget(self._name)

    def _use(self, rest: str) -> None:
        if not rest:
            print(_profile_table())
            return
        options = use_options(rest)
        if options.upstream == "auto":
            options.upstream = self._found()
        pace = self.pace if options.pace is None else options.pace
        typed = None if options.key_env else typed_key(options.upstream, options.url, always=options.ask_key)
        open_upstream(  # before anything is changed
            options.upstream,
            url=options.url,
            dialect=options.dialect,
            api_key_env=options.key_env,
            api_key=typed.key if typed else None,
            pace=pace,
        )
        self._key = typed
        with self.hold_trait_notifications():
            self.upstream = options.upstream
            self.url = options.url or ""
            self.dialect = options.dialect or "auto"
            self.api_key_env = options.key_env or ""
            self.model = options.model or ""
            self.pace = pace
        self._use_anew(None)
        print(f"using {self._chat().upstream}" + (f", model {self.model}" if self.model else ""))

    def _found(self) -> str:
        """The profile of a model server that runs on this machine."""
        found = shared_consumer().submit(local_servers()).result()
        if not found:
            raise BadInput(
                "no model server answers at a customary port of this machine; start one, or name an address"
            )
        for profile, models in found:
            print(f"found {profile.name} at {profile.url}: {', '.join(models[:8])}")
        return found[0][0].name

    def _models(self, _: str) -> None:
        names = self._chat().models()
        print("\n".join(names) if names else "this server has no list of models")

    def _connect(self, rest: str) -> None:
        options = parsed(CONNECT, rest)
        given = token(options)
        Chat(gateway=options.gateway, token=given).check()
        self.gateway = options.gateway
        self._token = given
        self._forget_connections(None)
        self._chat()
        print(f"connected to {options.gateway.partition('?')[0]}")

    # -- conversations --------------------------------------------------------------------------------------

    def _latest(self) -> Reply:
        if self._last is None:
            raise BadInput("there is no answer yet; ask something with %%chat first")
        return self._last

    def _chat(self, name: str | None = None, *, new: bool = False) -> Chat:
        """The conversation in use, brought up to date with the configuration."""
        self._name = name or self._name
        if self._name not in self._chats:
            self._chats[self._name] = self._open()
        chat = self._chats[self._name]
        chat.model, chat.system, chat.thinking = self.model or None, self.system or None, self.thinking
        if new:
            self._begin_anew()
        return chat

    def _open(self) -> Chat:
        if self.gateway:
            given = self._token or os.environ.get(self.token_env or "", "").strip() or None
            return Chat(gateway=self.gateway, token=given)
        return Chat(self._opened())

    def _opened(self) -> Upstream:
        """The upstream that the configuration names."""
        return open_upstream(
            self.upstream,
            url=self.url or None,
            dialect=None if self.dialect == "auto" else self.dialect,
            api_key_env=self.api_key_env or None,
            api_key=self._typed_key(),
            deadlines=_deadlines(self.deadlines),
            patience=Patience(retries=self.retries),
            pace=self.pace,
        )

    def _typed_key(self) -> str | None:
        """The key that was typed in, if it was for the server in use."""
        return self._key.given_to(self.upstream, self.url) if self._key else None

    def _forget_connections(self, _: Any) -> None:
        self._chats.clear()
        self._turns.clear()

    def _use_anew(self, _: Any) -> None:
        if self.gateway:
            self._forget_connections(None)
            self.gateway = ""
        for chat in self._chats.values():
            chat.use(self._opened())

    def close(self) -> None:
        """Stop what streams."""
        for chat in self._chats.values():
            if chat.last is not None:
                chat.last.ask_to_stop()


def _deadlines(seconds: dict[str, float | None]) -> Deadlines:
    known = [one.name for one in fields(Deadlines)]
    if unknown := sorted(set(seconds) - set(known)):
        raise BadInput(f"there is no deadline {unknown[0]!r}; expected some of {', '.join(known)}")
    return Deadlines(**cast("dict[str, Any]", seconds))


def _profile_table() -> str:
    """The profiles, a line each: the name, where it is, where its key is kept."""
    rows = [
        f"{profile.name:18}{profile.url or 'URL':58}{profile.key_env}".rstrip()
        for profile in PROFILES.values()
    ]
    return "\n".join(["%chat use NAME [URL] [-m MODEL]", "", *rows])


def load(shell: InteractiveShell) -> None:
    """Register the magics; `%%ssechat` always, `%%chat` also where another package had it."""
    taken = shell.find_cell_magic("chat") or shell.find_line_magic("chat")
    if taken is not None and type(getattr(taken, "__self__", None)).__name__ != "ChatMagics":
        print("jupyter_ssechat now has %%chat, which another extension had registered; %%ssechat is the same")
    magics = ChatMagics(shell)
    shell.register_magics(magics)
    shell.magics_manager.register_function(magics.chat_cell, "cell", "ssechat")
    shell.magics_manager.register_function(magics.chat_line, "line", "ssechat")


def unload(shell: InteractiveShell) -> None:
    """Take the magics away, stop what streams, and close the embedded gateway."""
    magics = shell.magics_manager.registry.pop("ChatMagics", None)
    if isinstance(magics, ChatMagics):
        magics.close()
    for kind, name in (("cell", "chat"), ("cell", "ssechat"), ("line", "chat"), ("line", "ssechat")):
        shell.magics_manager.magics[kind].pop(name, None)
    close_embedded()

"""A cell → a turn: the magics ``%%chat`` and ``%chat``."""

# IPython's own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import getpass
import json
import keyword
import os
import shlex
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, cast

from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments
from traitlets import Bool, Dict, Float, Int, TraitError, Unicode, validate

from .cell import STOP_SECONDS, Kept, Send, cell_of
from .chat import Chat
from .consumer import shared_consumer
from .deadlines import Deadlines
from .errors import BadInput
from .exchange import Patience
from .gateway.server import close_embedded
from .images import image_urls
from .profiles import PROFILES, key_wanted, local_servers, open_upstream
from .reply import Reply, View
from .upstream import Upstream

HELP = """\
%%chat [options]      ask what stands below; run the cell again for another answer, change it to edit the turn
  -m MODEL, -s SYSTEM, --no-thinking, --effort LEVEL         how to answer
  -t TEMPERATURE, --max-tokens N, --stop TEXT, --option KEY VALUE
  --image FILE|VARIABLE                                      a picture to look at
  --session NAME, --new, --append                            where the turn belongs
  --bg                                                       return at once; the kernel stays free
  -o VAR                                                     keep the Reply in a variable

%chat stop | resume | continue | regenerate | show           the last answer
%chat status | history | new                                 the conversation
%chat use ollama|openai|…|URL [-m MODEL] [--key-env NAME]    the model server; `use` alone lists them
%chat use auto | use demo                                    one that runs on this machine; the built-in one
%chat models                                                 what it offers
%chat connect URL [--token-env NAME | --token-file FILE]     another gateway
%config ChatMagics                                           the defaults"""


# The traits that say who answers, and how.
_UPSTREAM = ["upstream", "url", "dialect", "api_key_env", "deadlines", "retries", "pace"]


@dataclass(slots=True)
class Turn:
    """What a cell asked, and the reply that it got."""

    prompt: str
    images: list[str]
    reply: Reply


@dataclass(slots=True, repr=False)
class Key:
    """A key that was typed in, and the server that it is for."""

    upstream: str
    url: str
    key: str


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
        self._turns: dict[tuple[str, str], Turn] = {}
        self._name = "default"
        self._last: Reply | None = None
        self._token: str | None = None
        self._key: Key | None = None
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

    @magic_arguments()
    @argument("-m", "--model", help="the model to ask")
    @argument("-s", "--system", help="the system prompt for this turn")
    @argument("--no-thinking", action="store_true", help="answer without thinking")
    @argument("--effort", metavar="LEVEL", help="how hard to think, such as low, medium or high")
    @argument("-t", "--temperature", type=float, help="how freely to choose words; 0 is not at all")
    @argument("--max-tokens", type=int, metavar="N", help="the longest answer, in tokens")
    @argument("--stop", action="append", metavar="TEXT", help="end the answer before this text")
    @argument("--image", action="append", metavar="FILE", help="a picture: a file, an address or a variable")
    @argument(
        "--option", nargs=2, action="append", metavar=("KEY", "VALUE"), help="a field for the model server"
    )
    @argument("--session", metavar="NAME", help="the conversation to use; it stays chosen")
    @argument("--new", action="store_true", help="begin a new conversation")
    @argument("--append", action="store_true", help="add a turn, even if this cell has one already")
    @argument("--bg", action="store_true", help="return at once and keep the kernel free")
    @argument("-o", "--out", metavar="VAR", help="keep the Reply in this variable")
    @cell_magic("chat")
    @no_var_expand
    def chat_cell(self, line: str, cell: str) -> None:
        """Ask a model what stands in the cell; thinking and answer appear while they arrive."""
        options = _parse(self.chat_cell, line)
        if options.out and (not options.out.isidentifier() or keyword.iskeyword(options.out)):
            raise UsageError(f"-o {options.out}: not a variable name")
        chat = self._chat(options.session, new=options.new)
        prompt = cell.strip("\n")
        images = self._images(options.image or [])
        turn = None if options.append or options.new else self._turn(chat)
        background = (options.bg or self.background) and self._cell.attended
        place, asking = (self._name, self._cell.id or ""), _asking(options)

        def keep(reply: Reply) -> None:
            self._last = reply
            if place[1]:
                self._turns[place] = Turn(reply.prompt, images, reply)
            if options.out and self.shell is not None:
                self.shell.user_ns[options.out] = reply

        def again(reply: Reply, prompt: str, *, view: View) -> Reply:
            fresh = _sending(chat, prompt, images, _standing(chat, reply, images), asking)(view=view)
            keep(fresh)
            return fresh

        if turn is not None:
            turn.reply.dismiss()
        kept = Kept(prompt, again) if self.keep_view and self._cell.attended else None
        send = _sending(chat, prompt, images, turn, asking)
        self._cell.run(send, keep, background=background, kept=kept)

    def _images(self, names: list[str]) -> list[str]:
        """Pictures by the names of variables that hold them, or as files and addresses."""
        variables: dict[str, Any] = self.shell.user_ns if self.shell is not None else {}
        return [url for name in names for url in image_urls(variables.get(name, name))]

    def _turn(self, chat: Chat) -> Turn | None:
        """The turn that this cell has in the conversation, if it has one."""
        turn = self._turns.get((self._name, self._cell.id or ""))
        if turn is None or turn.reply.message_id is None or turn.reply.session_id != chat.session_id:
            return None
        return turn

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
        self._turns = {key: turn for key, turn in self._turns.items() if key[0] != self._name}

    def _use(self, rest: str) -> None:
        if not rest:
            print(_profile_table())
            return
        options = _parse(self._use_options, rest)
        if options.upstream != "demo" and options.pace is not None:
            raise UsageError("--pace is for the demo model; a model server keeps its own pace")
        if options.upstream == "auto":
            options.upstream = self._found()
        pace = self.pace if options.pace is None else options.pace
        key = None if options.key_env else self._asked_for(options)
        open_upstream(  # before anything is changed
            options.upstream,
            url=options.url,
            dialect=options.dialect,
            api_key_env=options.key_env,
            api_key=key,
            pace=pace,
        )
        self._key = Key(options.upstream, options.url or "", key) if key else None
        with self.hold_trait_notifications():
            self.upstream = options.upstream
            self.url = options.url or ""
            self.dialect = options.dialect or "auto"
            self.api_key_env = options.key_env or ""
            self.model = options.model or ""
            self.pace = pace
        self._use_anew(None)
        print(f"using {self._chat().upstream}" + (f", model {self.model}" if self.model else ""))

    @magic_arguments("%chat use")
    @argument("upstream", help="demo, auto, a profile, or the address of a model server")
    @argument("url", nargs="?", help="the address of a server of the profile's kind, if not its own")
    @argument("-m", "--model", help="the model to ask")
    @argument("--dialect", help="the wire, if the address and the first event do not tell it")
    @argument("--key-env", metavar="NAME", help="the environment variable that holds the key")
    @argument("--ask-key", action="store_true", help="ask for the key; it is kept in memory alone")
    @argument("--pace", type=float, help="for the demo: 1 like a real model, 0 at once")
    def _use_options(self, line: str) -> None:
        """The options of %chat use."""

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

    def _asked_for(self, options: Namespace) -> str | None:
        """The key, typed in where nobody sees it, if the server needs one that is not set."""
        wanted = key_wanted(options.upstream, options.url)
        if not options.ask_key and wanted is None:
            return None
        try:
            key = getpass.getpass(f"key for {options.upstream}: ").strip()
        except (EOFError, StdinNotImplementedError):
            key = ""
        if not key:
            name = wanted or "NAME"
            raise BadInput(
                f"{options.upstream} needs a key; set the environment variable {name}, or type it in"
            )
        return key

    def _models(self, _: str) -> None:
        names = self._chat().models()
        print("\n".join(names) if names else "this server has no list of models")

    def _connect(self, rest: str) -> None:
        options = _parse(self._connect_options, rest)
        token = _token(options)
        Chat(gateway=options.gateway, token=token).check()
        self.gateway = options.gateway
        self._token = token
        self._forget_connections(None)
        self._chat()
        print(f"connected to {options.gateway.partition('?')[0]}")

    @magic_arguments("%chat connect")
    @argument("gateway", help="the address of a gateway")
    @argument("--token-env", metavar="NAME", help="the environment variable that holds the token")
    @argument("--token-file", metavar="FILE", help="the file that holds the token")
    def _connect_options(self, line: str) -> None:
        """The options of %chat connect."""

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
            token = self._token or os.environ.get(self.token_env or "", "").strip() or None
            return Chat(gateway=self.gateway, token=token)
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
        typed = self._key
        return typed.key if typed and (typed.upstream, typed.url) == (self.upstream, self.url) else None

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


def _sending(chat: Chat, prompt: str, images: list[str], turn: Turn | None, asking: dict[str, Any]) -> Send:
    """How to send a cell: anew, as another answer to the same prompt, or as an edit of the turn."""
    if turn is None:
        return partial(chat.send, prompt, images=images, **asking)
    if (turn.prompt, turn.images) == (prompt, images):
        return partial(chat.regenerate, turn.reply, **asking)
    return partial(chat.send, prompt, images=images, edit=turn.reply.request_message_id, **asking)


def _standing(chat: Chat, reply: Reply, images: list[str]) -> Turn:
    """The turn of a reply whose view asks anew."""
    if reply.session_id != chat.session_id or reply.message_id is None or reply.request_message_id is None:
        raise BadInput("this answer is no part of the conversation; run its cell again")
    return Turn(reply.prompt, images, reply)


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


def _parse(magic: Any, line: str) -> Namespace:
    """Read options as a shell would; IPython's own splitting keeps the quotes."""
    try:
        return magic.parser.parse_args(shlex.split(line))
    except ValueError as error:
        raise UsageError(f"the options cannot be read: {error}") from None


def _asking(options: Namespace) -> dict[str, Any]:
    given: list[tuple[str, str]] = options.option or []
    asking: dict[str, Any] = {"options": {key: _value(value) for key, value in given}}
    if options.model:
        asking["model"] = options.model
    if options.system:
        asking["system"] = options.system
    if options.no_thinking:
        asking["thinking"] = False
    for name in ("effort", "temperature", "max_tokens", "stop"):
        if (value := getattr(options, name)) is not None:
            asking[name] = value
    return asking


def _value(text: str) -> Any:
    """JSON if it is JSON, else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _token(options: Namespace) -> str | None:
    if options.token_file:
        try:
            return Path(options.token_file).expanduser().read_text().strip()
        except OSError as error:
            raise BadInput(f"the token file {options.token_file} cannot be read: {error.strerror}") from None
    if options.token_env:
        token = os.environ.get(options.token_env, "").strip()
        if not token:
            raise BadInput(f"the environment variable {options.token_env} is empty or not set")
        return token
    return None


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

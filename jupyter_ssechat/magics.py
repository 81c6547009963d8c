"""A cell → a turn: the magics ``%%chat`` and ``%chat``."""

# IPython's own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUntypedFunctionDecorator=false

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import cell_magic, line_magic, magics_class, no_var_expand
from traitlets import Bool, TraitError, Unicode

from . import conversation_file
from .autosave import Autosave
from .cell import STOP_SECONDS, Kept, cell_of
from .cell_turns import CellTurn, CellTurns, sending, standing
from .chat import Chat
from .connection import Connection
from .consumer import shared_consumer
from .errors import AnswerStopped, BadInput, SSEChatError
from .gateway.server import close_embedded
from .images import image_urls
from .keys import typed_key
from .options import (
    CELL,
    CONNECT,
    FILE,
    HELP,
    RECORD,
    REPLAY,
    asking,
    cell_options,
    documented,
    parsed,
    token,
    use_options,
)
from .profiles import PROFILES, local_servers, open_upstream
from .prompt import composed
from .reply import Reply, View
from .schema import named_schema

_WHERE = {"": "embedded", "thread": "embedded", "process": "your own, a process"}


@magics_class
class ChatMagics(Connection):
    """Chat with a language model in cells; every trait is set by ``%config ChatMagics.NAME = VALUE``."""

    model = Unicode("", help="the model to ask; empty for the server's choice").tag(config=True)
    system = Unicode("", help="the system prompt").tag(config=True)
    thinking = Bool(True, help="whether to let the model think").tag(config=True)
    background = Bool(False, help="whether %%chat returns at once, as with --bg").tag(config=True)
    keep_view = Bool(False, help="whether the view of a finished answer stays, with Regenerate and Edit").tag(
        config=True
    )
    vars = Bool(False, help="whether {{expressions}} in a prompt are filled in, as with --vars").tag(
        config=True
    )

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._cell = cell_of(shell)
        self._turns = CellTurns()
        self._kept: dict[str, Autosave] = {}
        self._name = "default"
        self._last: Reply | None = None

    # -- %%chat ---------------------------------------------------------------------------------------------

    @cell_magic("chat")
    @no_var_expand
    @documented(CELL)
    def chat_cell(self, line: str, cell: str) -> None:
        """Ask a model what stands in the cell; thinking and answer appear while they arrive."""
        with _interrupted_in_one_line():
            self._ask(cell_options(line), cell)

    def _ask(self, options: Any, cell: str) -> None:
        chat = self._chat(options.session, new=options.new)
        prompt = self._prompt(options, cell)
        images = self._images(options.image or [])
        session, cell_id, asked = self._name, self._cell.id, asking(options)
        if options.json:
            asked["schema"] = named_schema(options.json, self._variables)
        turn = None if options.append or options.new else self._turns.get(session, cell_id, chat)
        background = (options.bg or self.background) and self._cell.attended

        def keep(reply: Reply) -> None:
            self._last = reply
            self._turns.put(session, cell_id, CellTurn(reply.prompt, images, reply))
            if options.out:
                self._variables[options.out] = reply

        def again(reply: Reply, prompt: str, *, view: View) -> Reply:
            fresh = sending(chat, prompt, images, standing(chat, reply, images), asked)(view=view)
            keep(fresh)
            return fresh

        if turn is not None:
            turn.reply.dismiss()
        taped = options.record or options.replay  # for this one answer: no button may ask anew
        kept = Kept(prompt, again) if self.keep_view and self._cell.attended and not taped else None
        try:
            with self._on_cassette(options.record, options.replay):
                send = sending(chat, prompt, images, turn, asked)
                self._cell.run(send, keep, background=background, kept=kept)
        finally:
            self._tell()

    def _prompt(self, options: Any, cell: str) -> str:
        return composed(
            cell.strip("\n"),
            self.shell,
            variables=options.vars or self.vars,
            files=options.file or [],
            cells=options.cell or [],
            explain=options.explain,
        )

    @property
    def _variables(self) -> dict[str, Any]:
        return self.shell.user_ns if self.shell is not None else {}

    def _images(self, names: list[str]) -> list[str]:
        """Pictures by the names of variables that hold them, or as files and addresses."""
        return [url for name in names for url in image_urls(self._variables.get(name, name))]

    def _tell(self) -> None:
        """Say what is wrong with a cassette or a file, once."""
        failures = [one.error for one in self._kept.values() if one.error is not None]
        for line in (*self._news(), *map(str, failures), *self._left_files()):
            print(f"note: {line}")

    def _left_files(self) -> list[str]:
        """What is to be said of files that keep a conversation which has been left since, once."""
        left = {name: kept for name, kept in self._kept.items() if not kept.active}
        self._kept = {name: kept for name, kept in self._kept.items() if name not in left}
        return [
            f"{kept.path} keeps the conversation before; %chat keep FILE keeps this one"
            for kept in left.values()
        ]

    # -- %chat ----------------------------------------------------------------------------------------------

    @line_magic("chat")
    @no_var_expand
    def chat_line(self, line: str) -> None:
        """Control the last answer, the conversation, and what it talks to; `%chat help` lists all."""
        name, _, rest = line.strip().partition(" ")
        command = self._commands().get(name or "help")
        if command is None:
            raise UsageError(f"%chat {name}: unknown; expected one of {', '.join(self._commands())}")
        with _interrupted_in_one_line():
            command(rest.strip())

    def _commands(self) -> dict[str, Callable[[str], None]]:
        return {
            "stop": self._stop,
            "resume": self._resume,
            "continue": self._resume,
            "regenerate": self._regenerate,
            "explain": self._explain,
            "show": self._show,
            "status": self._status,
            "history": self._history,
            "new": self._new,
            "use": self._use,
            "models": self._models,
            "connect": self._connect,
            "record": self._record,
            "replay": self._replay,
            "sessions": self._sessions,
            "open": self._open,
            "save": self._save,
            "load": self._load,
            "keep": self._keep,
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
        self._chat().expect_gateway()

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
            "gateway": f"{chat.gateway} ({_WHERE.get(self.gateway, 'another one')})",
            "upstream": chat.upstream or "(the gateway's)",
            "dialect": chat.dialect or "(the gateway's)",
            "key": self._key_from(),
            "model": self.model or "(the server's choice)",
            **self._files(),
            "session": f"{self._name}, {_extent(chat)}",
            "last answer": self._last.phase if self._last else "none yet",
        }
        print("\n".join(f"{name + ':':13}{value}" for name, value in rows.items()))

    def _files(self) -> dict[str, str]:
        """The files in use; a row for each."""
        tape, kept = self._tape(), self._kept.get(self._name)
        rows = {"kept in": str(kept.path)} if kept is not None and kept.active else {}
        if tape is not None:
            rows["cassette"] = (
                f"{tape.path.name}, {self.record_mode}: {tape.recorded} recorded, {tape.replayed} replayed"
            )
        return rows

    def _explain(self, question: str) -> None:
        self.chat_cell("--explain", question)

    def _history(self, _: str) -> None:
        self._cell.show_history(self._chat().branch())

    def _new(self, _: str) -> None:
        self._begin_anew()
        print("a new conversation begins with the next %%chat")
        self._tell()

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
        pace = float(self.pace if options.pace is None else options.pace)
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
        self._use_anew()
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
        self._forget_chats()
        self._chat()
        print(f"connected to {options.gateway.partition('?')[0]}")

    def _record(self, rest: str) -> None:
        if rest == "off":
            self._take_out()
            return
        options = parsed(RECORD, rest)
        self._put_in(options.file, options.mode, self.replay_pace)
        print(f"recording to {options.file}; %chat record off ends it")

    def _replay(self, rest: str) -> None:
        if rest == "off":
            self._take_out()
            return
        options = parsed(REPLAY, rest)
        self._put_in(options.file, "none", options.pace)
        print(f"replaying {options.file}; %chat replay off ends it")
        self._tell()

    def _take_out(self) -> None:
        self._put_in("", "once", 0.0)
        print(f"using {self._chat().upstream}")

    # -- saved conversations --------------------------------------------------------------------------------

    def _sessions(self, _: str) -> None:
        chat = self._chat()
        rows = [f"{one['id'][:8]}  {one['title'] or '(nothing asked yet)'}" for one in chat.sessions()]
        print("\n".join(rows) or "this gateway has no conversations yet")

    def _open(self, rest: str) -> None:
        chat = self._chat()
        found = [one["id"] for one in chat.sessions() if rest and one["id"].startswith(rest)]
        if len(found) != 1:
            which = "several conversations begin" if found else "no conversation begins"
            raise BadInput(f"{which} with {rest!r}; %chat sessions lists their ids")
        chat.open(found[0])
        self._last = chat.last
        self._turns.forget(self._name)
        print(f"opened {found[0][:8]}: {len(chat.history())} messages")
        self._tell()
        if chat.last is not None and chat.last.status == "interrupted":
            self._resume("")

    def _save(self, rest: str) -> None:
        chat, file = self._chat(), parsed(FILE, rest).file
        chat.save(file, cells=self._turns.answers(self._name, chat))
        print(f"saved {len(chat.history())} messages to {file}")

    def _load(self, rest: str) -> None:
        self._restore(parsed(FILE, rest).file)
        print(f"loaded {len(self._chat().history())} messages; the next %%chat goes on from there")
        self._tell()

    def _restore(self, file: str) -> None:
        transcript, chat, name = conversation_file.load(file), self._chat(), self._name
        chat.restore(transcript)
        self.system, self.model = transcript.system or self.system, self.model or transcript.model or ""
        self._last = chat.last
        self._turns.forget(name)
        replies = chat.replies()
        for cell_id, answer in transcript.cells.items():
            if reply := replies.get(answer):
                self._turns.put(name, cell_id, CellTurn(reply.prompt, transcript.images_of(answer), reply))

    def _keep(self, rest: str) -> None:
        if rest == "off":
            self._let_go()
            print("the conversation is kept in no file")
            return
        chat, file = self._chat(), parsed(FILE, rest).file
        there = Path(file).expanduser().exists()
        conversation_file.check_place(file)
        if there:
            self._restore(file)
        self._let_go()
        name = self._name
        self._kept[name] = Autosave(chat, file, cells=lambda: self._turns.answers(name, chat))
        if not there and chat.last is not None:
            self._kept[name].save_soon()
            self._kept[name].wait(STOP_SECONDS)
        said = f"goes on from {file}" if there else f"will be kept in {file}"
        print(f"the conversation {said}: {len(chat.history())} messages")

    def _let_go(self) -> None:
        if kept := self._kept.pop(self._name, None):
            kept.close()

    # -- conversations --------------------------------------------------------------------------------------

    def _latest(self) -> Reply:
        if self._last is None:
            raise BadInput("there is no answer yet; ask something with %%chat first")
        return self._last

    def _chat(self, name: str | None = None, *, new: bool = False) -> Chat:
        """The conversation in use, brought up to date with the configuration."""
        self._name = name or self._name
        if self._name not in self._chats:
            self._chats[self._name] = self._connected()
        chat = self._chats[self._name]
        chat.model, chat.system, chat.thinking = self.model or None, self.system or None, self.thinking
        if new:
            self._begin_anew()
        return chat

    def _forget_chats(self) -> None:
        super()._forget_chats()
        self._turns.clear()
        for kept in self._kept.values():
            kept.close()

    def close(self) -> None:
        """Stop what streams, and write what is to be kept."""
        super().close()
        for kept in self._kept.values():
            kept.close()


@contextmanager
def _interrupted_in_one_line() -> Generator[None]:
    """Let an interrupt before an answer, or of what waits for a server, be no wall of a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise AnswerStopped("stopped by the kernel's interrupt") from None


def _extent(chat: Chat) -> str:
    """How long a conversation is, or why that cannot be told."""
    try:
        return f"{len(chat.history())} messages"
    except SSEChatError as error:
        return str(error)


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
    if os.environ.get("JUPYTER_SSECHAT_OFFLINE"):  # and Python has not seen to it from its start
        import_module(".offline.sitecustomize", __package__)
    magics = _configured(shell)
    shell.register_magics(magics)
    shell.magics_manager.register_function(magics.chat_cell, "cell", "ssechat")
    shell.magics_manager.register_function(magics.chat_line, "line", "ssechat")


def _configured(shell: InteractiveShell) -> ChatMagics:
    """The magics as they are configured; what cannot be is said, or they could not be loaded again."""
    try:
        return ChatMagics(shell)
    except TraitError as error:
        print(f"note: the configuration of ChatMagics is left out: {' '.join(str(error).split())}")
        shell.config.pop("ChatMagics", None)
        return ChatMagics(shell)


def unload(shell: InteractiveShell) -> None:
    """Take the magics away, stop what streams, and close the embedded gateway."""
    magics = shell.magics_manager.registry.pop("ChatMagics", None)
    if isinstance(magics, ChatMagics):
        magics.close()
    for kind, name in (("cell", "chat"), ("cell", "ssechat"), ("line", "chat"), ("line", "ssechat")):
        shell.magics_manager.magics[kind].pop(name, None)
    close_embedded()

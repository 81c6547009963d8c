"""A cell → a turn: the magics ``%%chat`` and ``%chat``."""

from __future__ import annotations

import json
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from traitlets import Bool, Float, Unicode

from .chat import Chat
from .errors import AnswerFailed, AnswerStopped, BadInput
from .gateway.server import close_embedded
from .kernel import Kernel, kernel_of, open_route
from .presentation import Presentation, note, show_history, show_text
from .reply import Reply
from .widget import Action, ChatView

HELP = """\
%%chat [options]      ask what stands below; run the cell again for another answer, change it to edit the turn
  -m MODEL, -s SYSTEM, --no-thinking, --option KEY VALUE     how to answer
  --session NAME, --new, --append                            where the turn belongs
  --bg                                                       return at once; the kernel stays free
  -o VAR                                                     keep the Reply in a variable

%chat stop | resume | continue | regenerate | show           the last answer
%chat status | history | new                                 the conversation
%chat use URL [-m MODEL] [--key-env NAME] | use demo         the model server
%chat connect URL [--token-env NAME | --token-file FILE]     another gateway
%config ChatMagics                                           the defaults"""
INTERRUPTED = "stopped by the kernel's interrupt; what arrived is kept, %chat resume lets it go on"
STOP_SECONDS = 5.0


@dataclass(slots=True)
class Turn:
    """What a cell asked, and the reply that it got."""

    prompt: str
    reply: Reply


@magics_class
class ChatMagics(Magics):
    """Chat with a language model in cells; every trait is set by ``%config ChatMagics.NAME = VALUE``."""

    upstream = Unicode("demo", help="demo, or the address of an OpenAI-compatible server").tag(config=True)
    api_key_env = Unicode("", help="the environment variable that holds the server's key").tag(config=True)
    gateway = Unicode("", help="the address of another gateway; empty for the embedded one").tag(config=True)
    token_env = Unicode("", help="the environment variable that holds the gateway's token").tag(config=True)
    model = Unicode("", help="the model to ask; empty for the server's choice").tag(config=True)
    system = Unicode("", help="the system prompt").tag(config=True)
    thinking = Bool(True, help="whether to let the model think").tag(config=True)
    background = Bool(False, help="whether %%chat returns at once, as with --bg").tag(config=True)
    pace = Float(1.0, help="how the demo model waits: 1 like a real one, 0 not at all").tag(config=True)

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._kernel: Kernel | None = kernel_of(shell)
        self._chats: dict[str, Chat] = {}
        self._turns: dict[tuple[str, str], Turn] = {}
        self._name = "default"
        self._last: Reply | None = None
        self._token: str | None = None
        self.observe(self._forget_connections, ["gateway", "token_env"])
        self.observe(self._use_anew, ["upstream", "api_key_env", "pace"])

    # -- %%chat ---------------------------------------------------------------------------------------------

    @magic_arguments()
    @argument("-m", "--model", help="the model to ask")
    @argument("-s", "--system", help="the system prompt for this turn")
    @argument("--no-thinking", action="store_true", help="answer without thinking")
    @argument("--option", nargs=2, action="append", metavar=("KEY", "VALUE"), help="a field for the model server")
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
        if options.out and not options.out.isidentifier():
            raise UsageError(f"-o {options.out}: not a variable name")
        chat = self._chat(options.session, new=options.new)
        prompt = cell.strip("\n")
        background = (options.bg or self.background) and self._attended()
        reply, presentation = self._ask(chat, prompt, options, background=background)
        self._keep(prompt, reply, options)
        if not background:
            self._finish(reply, presentation)

    def _ask(
        self, chat: Chat, prompt: str, options: Namespace, *, background: bool
    ) -> tuple[Reply, Presentation | None]:
        """Send the cell's turn: anew, as another answer, or as an edited prompt."""
        turn = None if options.append or options.new else self._turn()
        asking = _asking(options)
        if self._kernel is None:
            return chat.send(prompt, on_delta=_Printer(), **asking), None
        if turn is not None and turn.reply.session_id == chat.session_id and turn.reply.message_id is not None:
            turn.reply.ask_to_stop()
            if turn.prompt == prompt:
                return self._present(lambda view: chat.regenerate(turn.reply, view=view, **asking), background)
            edit = turn.reply.request_message_id
            return self._present(lambda view: chat.send(prompt, edit=edit, view=view, **asking), background)
        return self._present(lambda view: chat.send(prompt, view=view, **asking), background)

    def _present(
        self, send: Callable[[Presentation], Reply], background: bool
    ) -> tuple[Reply, Presentation]:
        """Open a view and let a reply stream into it."""
        view = ChatView()
        open_route(view.comm)
        presentation = Presentation(view, background=background)
        reply = send(presentation)
        actions: dict[Action, Callable[[], object]] = {"stop": reply.ask_to_stop, "resume": reply.resume}
        view.on_action(lambda action: actions[action]())
        return reply, presentation

    def _finish(self, reply: Reply, presentation: Presentation | None) -> None:
        """Wait for the end of a reply and show it; what is not whole by accident ends the cell with one line."""
        try:
            self._wait(reply)
        except KeyboardInterrupt:
            reply.ask_to_stop()
            reply.over.wait(STOP_SECONDS)
            self._settle(reply, presentation)
            raise AnswerStopped(INTERRUPTED) from None
        self._settle(reply, presentation)
        if reply.status in ("failed", "interrupted"):
            raise AnswerFailed(reply.one_line()) from None

    def _wait(self, reply: Reply) -> None:
        if self._kernel is not None:
            self._kernel.wait(reply.over)
        else:
            reply.wait()

    def _settle(self, reply: Reply, presentation: Presentation | None) -> None:
        if presentation is not None:
            presentation.settle(reply)
        elif said := note(reply):
            print(f"[{said}]")

    def _keep(self, prompt: str, reply: Reply, options: Namespace) -> None:
        """Remember the cell's turn, and the reply where the user wants it."""
        self._last = reply
        if cell_id := self._cell_id():
            self._turns[self._name, cell_id] = Turn(prompt, reply)
        if options.out and self.shell is not None:
            self.shell.user_ns[options.out] = reply

    def _turn(self) -> Turn | None:
        cell_id = self._cell_id()
        return self._turns.get((self._name, cell_id)) if cell_id else None

    def _cell_id(self) -> str | None:
        return self._kernel.cell_id if self._kernel is not None else None

    def _attended(self) -> bool:
        return self._kernel is not None and self._kernel.attended

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

        def resume(view: Presentation) -> Reply:
            reply.show_in(view)
            return reply.resume()

        if self._kernel is None:
            self._finish(reply.resume(), None)
        else:
            self._finish(*self._present(resume, False))

    def _regenerate(self, _: str) -> None:
        chat = self._chat()
        if self._kernel is None:
            reply, presentation = chat.regenerate(on_delta=_Printer()), None
        else:
            reply, presentation = self._present(lambda view: chat.regenerate(view=view), False)
        self._last = reply
        self._finish(reply, presentation)

    def _show(self, _: str) -> None:
        reply = self._latest()
        if self._kernel is None:
            print(reply.content)
        elif reply.done:
            show_text(reply)
        else:
            self._finish(*self._present(lambda view: _shown(reply, view), False))

    def _status(self, _: str) -> None:
        chat = self._chat()
        rows = {
            "gateway": self.gateway.partition("?")[0] or f"{chat.gateway} (embedded)",
            "upstream": chat.upstream or "(the gateway's)",
            "model": self.model or "(the server's choice)",
            "session": f"{self._name}, {len(chat.history())} messages",
            "last answer": self._last.phase if self._last else "none yet",
        }
        print("\n".join(f"{name + ':':13}{value}" for name, value in rows.items()))

    def _history(self, _: str) -> None:
        show_history(self._chat().branch())

    def _new(self, _: str) -> None:
        self._begin_anew()
        print("a new conversation begins with the next %%chat")

    def _begin_anew(self) -> None:
        self._chat().new()
        self._turns = {key: turn for key, turn in self._turns.items() if key[0] != self._name}

    def _use(self, rest: str) -> None:
        options = _parse(self._use_options, rest)
        if options.upstream != "demo" and options.pace is not None:
            raise UsageError("--pace is for the demo model; a model server keeps its own pace")
        with self.hold_trait_notifications():
            self.upstream = options.upstream
            self.api_key_env = options.key_env or ""
            self.model = options.model or ""
            self.pace = self.pace if options.pace is None else options.pace
        self._use_anew(None)
        print(f"using {self._chat().upstream}" + (f", model {self.model}" if self.model else ""))

    @magic_arguments("%chat use")
    @argument("upstream", help="demo, or the address of an OpenAI-compatible server")
    @argument("-m", "--model", help="the model to ask")
    @argument("--key-env", metavar="NAME", help="the environment variable that holds the key")
    @argument("--pace", type=float, help="for the demo: 1 like a real model, 0 at once")
    def _use_options(self, line: str) -> None:
        """The options of %chat use."""

    def _connect(self, rest: str) -> None:
        options = _parse(self._connect_options, rest)
        token = _token(options)
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
        return Chat(self.upstream, api_key_env=self.api_key_env or None, pace=self.pace)

    def _forget_connections(self, _: Any) -> None:
        self._chats.clear()
        self._turns.clear()

    def _use_anew(self, _: Any) -> None:
        if self.gateway:
            self._forget_connections(None)
            self.gateway = ""
        for chat in self._chats.values():
            chat.use(self.upstream, api_key_env=self.api_key_env or None, pace=self.pace)

    def close(self) -> None:
        """Stop what streams."""
        for chat in self._chats.values():
            if chat.last is not None:
                chat.last.ask_to_stop()


class _Printer:
    """Prints text as it arrives, for a terminal: thinking dimmed, then the answer."""

    def __init__(self) -> None:
        self._kind = ""

    def __call__(self, delta: Any) -> None:
        if delta is None:
            print("\x1b[0m" if self._kind == "thinking" else "")
            return
        if delta.kind != self._kind:
            lead = {"thinking": "\x1b[2m", "content": "\x1b[0m"}[delta.kind]
            sys.stdout.write(lead if not self._kind else f"\n\n{lead}")
            self._kind = delta.kind
        sys.stdout.write(delta.text)
        sys.stdout.flush()


def _shown(reply: Reply, view: Presentation) -> Reply:
    reply.show_in(view)
    return reply


def _parse(magic: Any, line: str) -> Namespace:
    """Read options as a shell would; IPython's own splitting keeps the quotes."""
    try:
        return magic.parser.parse_args(shlex.split(line))
    except ValueError as error:
        raise UsageError(f"the options cannot be read: {error}") from None


def _asking(options: Namespace) -> dict[str, Any]:
    asking: dict[str, Any] = {"options": {key: _value(value) for key, value in options.option or []}}
    if options.model:
        asking["model"] = options.model
    if options.system:
        asking["system"] = options.system
    if options.no_thinking:
        asking["thinking"] = False
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
    shell.register_magic_function(magics.chat_cell, "cell", "ssechat")
    shell.register_magic_function(magics.chat_line, "line", "ssechat")


def unload(shell: InteractiveShell) -> None:
    """Take the magics away, stop what streams, and close the embedded gateway."""
    magics = shell.magics_manager.registry.pop("ChatMagics", None)
    if isinstance(magics, ChatMagics):
        magics.close()
    for kind, name in (("cell", "chat"), ("cell", "ssechat"), ("line", "chat"), ("line", "ssechat")):
        shell.magics_manager.magics[kind].pop(name, None)
    close_embedded()

"""A chat → what browsers are told of its conversation, and what they may ask for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import takewhile
from typing import Any

from .batches import Tell
from .chat import Chat
from .consumer import sendable
from .errors import BadInput
from .feed import Feed
from .panel_text import Said
from .reply import Reply
from .talk import Asked
from .turns import Node, Tree, Turn, grown

BUSY = "an answer is still streaming; stop it or wait for its end"


class Conversation:
    """The shown branch of a chat, whoever asks it; what changes of it is told once.

    `changed` is called when `status` or `busy` may be others, `ended` with each reply that has ended. What
    browsers ask for is done on the consumer's thread; `lock` guards what they are told.
    """

    def __init__(
        self, chat: Chat, tell: Tell, *, changed: Callable[[], object], ended: Callable[[Reply], object]
    ) -> None:
        self.chat = chat
        self.lock = threading.RLock()
        self._tell = tell
        self._changed = changed
        self._ended = ended
        self._tree = Tree()
        self._feeds: dict[int, Feed] = {}
        self._seq = 0
        self._told: list[dict[str, Any]] = []
        self._origin: str | None = None

    @property
    def status(self) -> str:
        """The state of the last answer shown; "" before there is one."""
        feed = self._feeds.get(self._tree.last.number)
        return feed.status if feed is not None else ""

    @property
    def busy(self) -> bool:
        """Whether any answer streams."""
        return any(feed.status == "streaming" for feed in self._feeds.values())

    # ---- following the chat ----

    def open(self) -> None:
        """Take up what has been said in the chat, and follow it from now on."""
        self._take_up(self.chat.history())
        self._join(self.chat.last)
        self._told = self._turns()
        self.chat.follow(self)

    def _take_up(self, history: list[dict[str, Any]]) -> None:
        # No number comes twice: pages know the answers of a conversation before.
        self._tree, self._feeds = grown(history, self._tree.free if self._feeds else 0), {}
        records = {one.get("message_id"): one for one in history if one.get("role") == "ASSISTANT"}
        for message_id, record in records.items():
            if node := self._tree.find(message_id):
                self._feed(node).recall(record)
        if head := self._tree.find(self.chat.head):
            self._tree.choose(head)
            head.chosen = None

    def _join(self, reply: Reply | None) -> None:
        """Show the chat's last reply itself: it may still stream, and it can be resumed."""
        if reply is None:
            return
        node = self._tree.find(reply.message_id)
        if node is None and reply.done:
            return
        if node is None:
            node = self._tree.add(self._tree.add(self._tree.last, reply.prompt))
        reply.show_in(self._feed(node))

    def close(self) -> None:
        """Follow the chat no longer."""
        self.chat.unfollow(self)

    def asked(self, asked: Asked) -> Feed:
        """Show the answer that begins, in its place."""
        with self.lock:
            node = self._answer(asked)
            feed = self._feeds.get(node.number) or self._feed(node)
            self._tree.choose(node)
            self._tell_turns()
            return feed

    def renewed(self) -> None:
        """Show the other conversation: a new one, or one that was kept."""
        history = self.chat.history()
        with self.lock:
            for feed in self._feeds.values():
                feed.status = "stopped"
            self._take_up(history)
            self._join(self.chat.last)
            self._tell_turns()
            self._changed()

    def _answer(self, asked: Asked) -> Node:
        """The place of an answer that begins."""
        known = self._tree.find(asked.message_id)
        if known is None or known.parent is None:
            return self._tree.add(self._tree.add(self._below(), asked.prompt))
        match asked.call:
            case "edit_message":
                return self._tree.add(self._tree.add(known.parent, asked.prompt))
            case "regenerate":
                return self._tree.add(known.parent if known.number in self._feeds else known)
            case "continue" | "completion":
                return known

    def _below(self) -> Node:
        """What the next question stands below: while one streams, nobody knows better than the branch."""
        if self.chat.last is not None and not self.chat.last.done:
            return self._tree.last
        return self._tree.find(self.chat.head) or self._tree.root

    def _feed(self, node: Node) -> Feed:
        feed = Feed(node.number, self.lock, self._tell, lambda feed, event: self._heard(node, feed, event))
        self._feeds[node.number] = feed
        return feed

    def _heard(self, node: Node, feed: Feed, event: str) -> None:
        reply = feed.reply
        if reply is None:
            return
        if event == "ready":
            self._name(node, reply)
            if self._origin is not None:
                feed.let_control(self._origin)
            return
        self._changed()
        if event == "end":
            self._ended(reply)

    def _name(self, node: Node, reply: Reply) -> None:
        node.message_id = reply.message_id
        if node.parent is not None and node.parent.message_id is None:
            node.parent.message_id = reply.request_message_id

    # ---- what stays in the notebook ----

    def said(self) -> list[Said]:
        """The shown branch in words; an answer that streams is not among them before it has ended."""
        with self.lock:
            shown = [(turn.prompt.text, self._feeds[turn.answer.number]) for turn in self._tree.branch()]
            return [feed.in_words(prompt) for prompt, feed in shown if feed.status != "streaming"]

    # ---- what browsers are told ----

    def state(self) -> dict[str, Any]:
        """All that is shown, for a page that opens."""
        with self.lock:
            turns = [self._with(turn, snapshot=True) for turn in self._tree.branch()]
            return {"seq": self._seq, "turns": turns}

    def _turns(self) -> list[dict[str, Any]]:
        return [turn.to_wire() for turn in self._tree.branch()]

    def _with(self, turn: Turn, *, snapshot: bool) -> dict[str, Any]:
        """A turn and where its answer stands, or all of its answer."""
        wire, feed = sendable(turn.to_wire()), self._feeds[turn.answer.number]
        known = {"snapshot": feed.snapshot()} if snapshot else {"seq": feed.seq}
        return {"prompt": wire["prompt"], "answer": {**wire["answer"], "status": feed.status, **known}}

    def _tell_turns(self) -> None:
        """Tell which turns are shown now: those that are as they were are kept, and not told again."""
        before, self._told = self._told, self._turns()
        same = takewhile(lambda pair: pair[0] == pair[1], zip(before, self._told, strict=False))
        keep = sum(1 for _ in same)
        self._seq += 1
        rest = [self._with(turn, snapshot=False) for turn in list(self._tree.branch())[keep:]]
        self._tell({"type": "turns", "seq": self._seq, "keep": keep, "turns": rest})

    def sync(self, number: object) -> None:
        """Tell a page that missed something all there is of one answer; without a number, which turns are shown."""
        with self.lock:
            if number is None:
                turns = [self._with(turn, snapshot=False) for turn in self._tree.branch()]
                self._tell({"type": "turns", "seq": self._seq, "keep": 0, "turns": turns})
            elif isinstance(number, int) and (feed := self._feeds.get(number)):
                self._tell({"type": "snapshot", "number": number, **feed.snapshot()})
                self._tell({"type": "status", "number": number, "status": feed.status})

    def greet(self, origin: str) -> None:
        """A page at `origin` has opened: let it stop what streams."""
        with self.lock:
            self._origin = origin
            for feed in self._feeds.values():
                feed.let_control(origin)

    # ---- what browsers may ask for ----

    def send(self, prompt: str) -> None:
        """Ask below the shown branch."""
        self._must_rest()
        self.chat.send(prompt)

    def edit(self, number: object, prompt: str) -> None:
        """Ask something else in the place of a prompt; the old branch stays."""
        self._must_rest()
        self._ask_again(self._tree.get(number, "prompt"), prompt)

    def regenerate(self, number: object) -> None:
        """Answer the prompt of this answer once more, beside it."""
        self._must_rest()
        answer = self._tree.get(number, "answer")
        prompt = answer.parent or answer
        known = answer.message_id or prompt.message_id
        if known is None:
            self._ask_again(prompt, prompt.text)
        else:
            self.chat.regenerate(known, prompt=prompt.text)

    def resume(self, number: object) -> None:
        """Let the last answer shown go on."""
        self._must_rest()
        answer = self._tree.get(number, "answer")
        if answer is not self._tree.last:
            raise BadInput("only the last answer can go on; regenerate this one")
        reply = self._feeds[answer.number].reply
        if reply is not None:
            reply.resume()
        elif answer.message_id is not None and answer.parent is not None:
            self.chat.resume(answer.message_id, prompt=answer.parent.text)

    def stop(self, number: object) -> None:
        """Stop an answer and keep its text; nothing happens when it does not stream."""
        reply = self._feeds[self._tree.get(number, "answer").number].reply
        if reply is not None:
            reply.ask_to_stop()

    def switch(self, number: object, kind: object, step: object) -> None:
        """Show another version of a prompt or an answer, so many places on, and go on from its branch."""
        self._must_rest()
        if step not in (-1, 1) or kind not in ("prompt", "answer"):
            raise BadInput(f"switch a prompt or an answer by 1 or -1, not {kind!r} by {step!r}")
        with self.lock:
            shown = self._tree.get(number, kind)
            self._tree.choose(shown.sibling(int(step)))
            self.chat.go_to(self._head(self._tree.last))
            self._tell_turns()
            self._changed()

    def _must_rest(self) -> None:
        if self.busy:
            raise BadInput(BUSY)

    def _ask_again(self, prompt: Node, text: str) -> None:
        """Ask in the place of a prompt; one that the gateway never got is asked below what stands above it."""
        if prompt.message_id is not None:
            self.chat.send(text, edit=prompt.message_id)
            return
        self.chat.go_to(self._head(prompt.parent or self._tree.root))
        self.chat.send(text)

    def _head(self, answer: Node) -> int | None:
        """The id of the nearest answer, this one or above, that is part of what was said."""
        while answer.parent is not None and answer.parent.parent is not None:
            feed = self._feeds[answer.number]
            if answer.message_id is not None and (feed.said or feed.status not in ("failed", "interrupted")):
                break
            answer = answer.parent.parent
        return answer.message_id

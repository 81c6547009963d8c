"""Messages → a tree of prompts and answers, and the branch of it that is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import BadInput
from .wire_json import as_text


@dataclass(eq=False, slots=True)
class Node:
    """A prompt or an answer; below a prompt stand answers, below an answer prompts.

    `number` counts within one tree, and is there from the start; `message_id` is the gateway's, once it has
    given one. `text` is what a prompt says.
    """

    number: int
    parent: Node | None
    text: str = ""
    message_id: int | None = None
    children: list[Node] = field(default_factory=list["Node"])
    chosen: Node | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Which of its siblings it is, from 1, and how many there are."""
        siblings = [self] if self.parent is None else self.parent.children
        return siblings.index(self) + 1, len(siblings)

    def sibling(self, step: int) -> Node:
        """The sibling so many places on; itself where there is none."""
        place, count = self.place
        if self.parent is None or not 1 <= place + step <= count:
            return self
        return self.parent.children[place + step - 1]


@dataclass(frozen=True, slots=True)
class Turn:
    """A prompt on the shown branch, and the answer that is chosen of its answers."""

    prompt: Node
    answer: Node

    def to_wire(self) -> dict[str, Any]:
        """The turn as browsers get it; it says nothing of what stands in the answer."""
        prompt, answer = self.prompt, self.answer
        asked = {"number": prompt.number, "text": prompt.text, "place": list(prompt.place)}
        return {"prompt": asked, "answer": {"number": answer.number, "place": list(answer.place)}}


class Tree:
    """All branches of one conversation; the root stands before the first prompt and has the number `first`."""

    def __init__(self, first: int = 0) -> None:
        self.root = Node(first, None)
        self._nodes = {first: self.root}

    @property
    def free(self) -> int:
        """The number of the next message."""
        return self.root.number + len(self._nodes)

    def add(self, parent: Node, text: str = "", message_id: int | None = None) -> Node:
        """Add a message below another; it is chosen among its siblings."""
        node = Node(self.free, parent, text, message_id)
        self._nodes[node.number] = node
        parent.children.append(node)
        parent.chosen = node
        return node

    def get(self, number: object, kind: Literal["prompt", "answer"]) -> Node:
        """The prompt or answer with this number; BadInput if there is none."""
        node = self._nodes.get(number) if isinstance(number, int) else None
        if node is None or node.parent is None or _kind(node) != kind:
            raise BadInput(f"there is no {kind} {number!r} in this conversation; reload the page")
        return node

    def find(self, message_id: int | None) -> Node | None:
        """The message with the gateway's id."""
        known = (node for node in self._nodes.values() if node.message_id is not None)
        return next((node for node in known if node.message_id == message_id), None)

    def choose(self, node: Node) -> None:
        """Let the shown branch lead through this message."""
        while node.parent is not None:
            node.parent.chosen = node
            node = node.parent

    def branch(self) -> Iterator[Turn]:
        """The turns that are shown, the oldest first."""
        prompt = self.root.chosen
        while prompt is not None and prompt.chosen is not None:
            yield Turn(prompt, prompt.chosen)
            prompt = prompt.chosen.chosen

    @property
    def last(self) -> Node:
        """The last answer of the shown branch; the root before the first one."""
        return next((turn.answer for turn in reversed(list(self.branch()))), self.root)


def grown(messages: list[dict[str, Any]], first: int = 0) -> Tree:
    """The tree of the messages of `history_messages`, each after its parent; the root has the number `first`."""
    tree = Tree(first)
    known: dict[Any, Node] = {None: tree.root}
    for message in messages:
        above = known.get(message.get("parent_id"))
        if above is None:
            continue
        text = as_text(message.get("content")) if message.get("role") == "USER" else ""
        message_id = message.get("message_id")
        known[message_id] = tree.add(above, text, message_id)
    return tree


def _kind(node: Node) -> str:
    depth = 0
    while node.parent is not None:
        node, depth = node.parent, depth + 1
    return "prompt" if depth % 2 else "answer"

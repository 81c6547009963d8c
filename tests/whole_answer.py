"""What the demo model says to "hello", and a reader that compares all that it sees with it, patch by patch."""

from __future__ import annotations

from jupyter_ssechat import demo

PROMPT = "hello"
_SCRIPT = demo.script(PROMPT, thinking=True, turn=1, system=None)
THINKING = "".join(token.text for token in _SCRIPT if token.kind == "thinking")
CONTENT = "".join(token.text for token in _SCRIPT if token.kind == "content")


class Comparison:
    """One reader's view of the answer: no text in it is lost, repeated or out of order, and none goes away again."""

    def __init__(self) -> None:
        self._most = 0

    def see(self, thinking: str, content: str) -> None:
        """Compare what is shown now."""
        assert THINKING.startswith(thinking), f"{thinking!r} is not how the thinking begins"
        assert CONTENT.startswith(content), f"{content!r} is not how the answer begins"
        assert len(thinking) + len(content) >= self._most, "text that was seen is gone"
        self._most = len(thinking) + len(content)

    @property
    def whole(self) -> bool:
        """Whether all of it was seen."""
        return self._most == len(THINKING) + len(CONTENT)


__all__ = ["CONTENT", "PROMPT", "THINKING", "Comparison"]

"""The built-in model as an upstream."""

from __future__ import annotations

import pytest

from jupyter_ssechat import demo
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.patches import Patch
from jupyter_ssechat.request import Request, Turn
from jupyter_ssechat.upstream import Demo

from .asking import asking, message_of, patches_of


def test_a_pace_below_nothing_is_bad_input() -> None:
    with pytest.raises(BadInput, match="pace is -1"):
        Demo(pace=-1)


def test_the_demo_says_its_name_its_script_and_its_count_and_is_finished() -> None:
    patches = patches_of(Demo(pace=0), asking("count to 3", system="be brief"))
    script = demo.script("count to 3", system="be brief")
    assert patches[0] == Patch("response/model", "SET", "demo")
    assert [one.value for one in patches if one.op == "APPEND"] == [token.text for token in script]
    message = message_of(patches)
    assert (message.status, message.finish_reason) == ("finished", "stop")
    assert message.usage is not None and message.usage.completion_tokens == len(script)
    assert message.usage.to_dict() == message.document.get("response/usage")
    assert message.document.get("response/accumulated_token_usage") == message.usage.total_tokens


@pytest.mark.parametrize("place", [0, 1, 17, 10_000])
def test_the_demo_goes_on_exactly_where_it_stood(place: int) -> None:
    whole = message_of(patches_of(Demo(pace=0)))
    for thinking, content in ((whole.thinking[:place], ""), (whole.thinking, whole.content[:place])):
        request = asking(continues=True, thinking_so_far=thinking, content_so_far=content)
        rest = message_of(patches_of(Demo(pace=0), request))
        assert thinking + (rest.thinking if not content else "") == whole.thinking
        assert content + rest.content == whole.content


def test_the_demo_knows_the_turn_from_the_history() -> None:
    turns = (Turn("user", "hello"), Turn("assistant", "Hi"), Turn("user", "again"))
    assert Request(turns=turns).prompt == "again"
    second = "".join(token.text for token in demo.script("again", turn=2) if token.kind == "content")
    assert message_of(patches_of(Demo(pace=0), Request(turns=turns))).content == second

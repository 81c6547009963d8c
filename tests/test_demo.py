from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat import demo
from jupyter_ssechat.errors import BadInput

PROMPTS = (
    "What is SSE?",
    "什么是流？",
    "hello",
    "你好",
    "count to 12",
    "write Python code",
    "an integral",
    "compare",
    "long",
    "长",
)
TOPICS = st.sampled_from(PROMPTS) | st.text(max_size=200)


def text(prompt: str, kind: demo.Kind = "content", **options: object) -> str:
    return "".join(one.text for one in demo.script(prompt, **options) if one.kind == kind)  # pyright: ignore[reportArgumentType]


async def collect(prompt: str, **options: object) -> list[demo.Token]:
    return [one async for one in demo.stream(prompt, **{"pace": 0, **options})]  # pyright: ignore[reportArgumentType]


def streamed(prompt: str, **options: object) -> list[demo.Token]:
    return asyncio.run(collect(prompt, **options))


@given(TOPICS, st.integers(1, 5), st.none() | st.text(max_size=20))
def test_the_same_question_gives_the_same_tokens(prompt: str, turn: int, system: str | None) -> None:
    assert demo.script(prompt, turn=turn, system=system) == demo.script(prompt, turn=turn, system=system)


def test_the_tokens_are_these_on_every_platform_and_python() -> None:
    tokens = demo.script("What is SSE?")
    assert [one.text for one in tokens[:6]] == ["The", " user", " writ", "es", ": ", "“"]
    assert [one.delay for one in tokens[:3]] == [0.43329, 0.01307, 0.01584]


@given(TOPICS)
def test_thinking_comes_first_and_can_be_turned_off(prompt: str) -> None:
    kinds = [one.kind for one in demo.script(prompt)]
    assert kinds == sorted(kinds, reverse=True)
    assert "thinking" in kinds
    assert {one.kind for one in demo.script(prompt, thinking=False)} == {"content"}
    assert text(prompt, thinking=False) == text(prompt)


@given(TOPICS)
def test_every_answer_says_that_it_is_a_demo_and_how_to_connect_a_model(prompt: str) -> None:
    content = text(prompt)
    assert "demo model" in content or "演示模型" in content
    assert "%chat use http://localhost:11434/v1 -m MODEL" in content
    assert "`%chat help`" in content


def test_the_usual_answer_shows_all_that_a_notebook_can() -> None:
    for prompt in ("What is SSE?", "什么是流？"):
        content = text(prompt)
        for sign in ("\n## ", "\n```python\n", "\n|---|", "$n$", "\n$$", "👩‍🔬", "🇨🇳"):
            assert sign in content
        assert re.search("[\u4e00-\u9fff]", content)


@pytest.mark.parametrize(
    ("prompt", "low", "high"), [("What is SSE?", 5, 9), ("什么是流？", 5, 9), ("hi", 3, 6), ("long", 22, 34)]
)
def test_the_pace_is_that_of_a_real_model(prompt: str, low: float, high: float) -> None:
    tokens = demo.script(prompt)
    assert low < sum(one.delay for one in tokens) < high
    assert 0.3 <= tokens[0].delay <= 0.6
    assert all(0.01 < one.delay < 0.15 for one in tokens[1:])


def test_the_code_for_the_figures_is_right_about_them() -> None:
    assert "| Characters | 12 |\n| Words | 3 |\n| Bytes in UTF-8 | 12 |" in text("What is SSE?")
    assert "| 字符数 | 5 |\n| 词数 | 1 |\n| UTF-8 字节数 | 15 |" in text("什么是流？")


def test_a_chinese_prompt_is_answered_in_chinese() -> None:
    chinese = ("什么是流？", "用 Python 写排序", "SSE JSON 是什么")
    english = ("What is SSE?", "Say 你好", "translate 你好 to English", "東京の天気を教えて", "", "1 + 1")
    assert all("你的问题：" in text(one) for one in chinese)
    assert not any("你的问题：" in text(one) for one in english)


@pytest.mark.parametrize(
    ("prompt", "sign"),
    [
        ("count to 12", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12."),
        ("Please count from 1 to 3", "\n1, 2, 3.\n"),
        ("count to 0", "\n0.\n"),
        ("count to 999999", "499, 500. I stop at 500."),
        ("数到 5", "1，2，3，4，5。"),
        ("Hello!", "Ask me for *code*"),
        ("你好！", "可以问我*代码*"),
        ("sort a list in Python", "def merge_sort"),
        ("integral of a function", "Gaussian"),
        ("写一个比较表格", "补丁流"),
        ("Write a long text about Python", "### 8. In one line"),
        ("长城在哪里？", "平均词长"),
        ("写一篇长文", "### 八、一句话"),
    ],
)
def test_a_topic_has_its_own_answer(prompt: str, sign: str) -> None:
    assert sign in text(prompt)


@pytest.mark.parametrize(
    ("prompt", "quote"),
    [
        ("two\n lines", "`two lines`"),
        ("a `b` c", "``a `b` c``"),
        ("`b`", "`` `b` ``"),
        ("{x} {0} %s $y", "`{x} {0} %s $y`"),
        ("a\u202eb\x1b[31m", "`a b [31m`"),
        ("\ud83d\ude00 \ud800", "`😀 \ufffd`"),
        ("word " * 40, "`" + ("word " * 14).strip() + "…`"),
        ("👩‍👩‍👧‍👦" * 100, "`" + "👩‍👩‍👧‍👦" * 72 + "…`"),
        ("e\u0301" * 100, "`" + "e\u0301" * 72 + "…`"),
    ],
)
def test_the_prompt_is_quoted_so_that_it_stays_a_quotation(prompt: str, quote: str) -> None:
    assert quote + "\n" in text(prompt)


@pytest.mark.parametrize("prompt", ["", "  \n ", "\x00\x1b"])
def test_an_empty_prompt_is_not_quoted(prompt: str) -> None:
    assert text(prompt).startswith("I am the **built-in demo model**")
    assert "empty" in text(prompt, "thinking")


def test_the_turn_and_the_system_prompt_are_mentioned() -> None:
    content = text("What is SSE?", turn=3, system="Be `brief`.")
    assert "This is turn 3" in content
    assert "``Be `brief`.``" in content
    assert "Be `brief`." in text("What is SSE?", "thinking", system="Be `brief`.")


@given(TOPICS)
def test_a_token_is_short_and_an_emoji_stays_whole(prompt: str) -> None:
    for one in demo.script(prompt):
        assert one.text
        assert len(one.text) <= 6 or not one.text.isascii()
        assert not one.text.startswith(("\u200d", "\ufe0f", "\U0001f3fd"))


def test_a_huge_prompt_is_answered_at_once() -> None:
    prompt = "長e\u0301 `" * 200_000
    assert len(text(prompt)) < 10_000


@given(TOPICS, st.data())
def test_a_stopped_answer_goes_on_exactly_where_it_stands(prompt: str, data: st.DataObject) -> None:
    thinking, content = text(prompt, "thinking"), text(prompt)
    skip = data.draw(st.integers(0, len(content)))
    rest = streamed(prompt, skip=skip, skip_thinking=len(thinking) if skip else 0)
    assert content[:skip] + "".join(one.text for one in rest if one.kind == "content") == content
    assert not skip or {one.kind for one in rest} <= {"content"}
    begun = data.draw(st.integers(0, len(thinking)))
    rest = streamed(prompt, skip_thinking=begun)
    assert thinking[:begun] + "".join(one.text for one in rest if one.kind == "thinking") == thinking
    assert "".join(one.text for one in rest if one.kind == "content") == content


def test_the_waiting_is_multiplied_by_the_pace() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    tokens = streamed("hello", pace=2, sleep=sleep)
    assert waits == [one.delay * 2 for one in tokens]
    assert tokens == demo.script("hello")


def test_at_pace_0_others_still_get_their_turn() -> None:
    async def race() -> int:
        answer = asyncio.ensure_future(collect("long"))
        turns = 0
        while not answer.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert asyncio.run(race()) > 50


@pytest.mark.parametrize("pace", [-1.0, float("nan"), float("inf")])
def test_a_pace_that_cannot_be_is_refused(pace: float) -> None:
    with pytest.raises(BadInput, match="pace"):
        streamed("hello", pace=pace)


def test_usage_counts_what_was_asked_and_said() -> None:
    script = demo.script("What is SSE?")
    usage = demo.usage("What is SSE?", script, system="Be brief.")
    assert usage == {"prompt_tokens": 7, "completion_tokens": len(script), "total_tokens": len(script) + 7}

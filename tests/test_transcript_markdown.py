"""Conversations as Markdown: readable, faithful, harmless, and true about how answers ended."""

from __future__ import annotations

from typing import Any

import pytest
from markdown_it import MarkdownIt

from jupyter_ssechat.transcript import Transcript, read_transcript
from jupyter_ssechat.transcript_markdown import transcript_markdown

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


def answered(**fields: Any) -> Transcript:
    prompt = {"message_id": 1, "role": "USER", "content": "why?"}
    answer = {"message_id": 2, "parent_id": 1, "role": "ASSISTANT", "status": "FINISHED", "content": "so"}
    return Transcript.of_history([prompt, {**answer, **fields}], head=2)


def test_a_conversation_reads_as_who_said_what() -> None:
    transcript = read_transcript([{"role": "system", "content": "Be brief."}, *answered().to_messages()])
    assert transcript_markdown(transcript) == (
        "**System**\n\nBe brief.\n\n---\n\n**You**\n\nwhy?\n\n---\n\n**Model**\n\nso\n"
    )


def test_nothing_said_is_an_empty_text() -> None:
    assert transcript_markdown(Transcript()) == ""


def test_the_model_is_named_in_one_line() -> None:
    assert "**Model · vendor/m 1**" in transcript_markdown(answered(model="vendor/m\n1"))


def test_thinking_is_folded_above_the_answer_or_left_out() -> None:
    transcript = answered(thinking_content="let me see")
    folded = "<details>\n<summary>Thinking</summary>\nlet me see\n</details>\n\nso"
    assert folded in transcript_markdown(transcript)
    assert "let me see" not in transcript_markdown(transcript, thinking=False)


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ({"status": "INCOMPLETE", "finish_reason": "stopped"}, "Stopped: this answer is not complete."),
        ({"status": "WIP"}, "Interrupted: the answer still streamed when the conversation was saved"),
        (
            {"status": "FAILED", "error": {"type": "rate_limit", "message": "too many requests"}},
            "Failed: too many requests",
        ),
        ({"status": "CONTENT_FILTER"}, "Filtered: the model server withheld the rest."),
        ({"finish_reason": "length"}, "Cut: the limit of tokens was reached."),
    ],
)
def test_an_answer_that_is_not_whole_says_how_it_ended(ending: dict[str, Any], said: str) -> None:
    text = transcript_markdown(answered(**ending))
    assert f"so\n\n<em>{said}" in text


def test_a_whole_answer_says_nothing_about_its_end() -> None:
    assert "<em>" not in transcript_markdown(answered())


def test_code_that_is_never_closed_stays_in_its_own_message() -> None:
    transcript = read_transcript(
        [
            {"role": "user", "content": "```\nopen"},
            {"role": "assistant", "content": "```python\nprint(1)"},
            {"role": "user", "content": "next"},
            {"role": "assistant", "content": "last"},
        ]
    )
    html = MarkdownIt().render(transcript_markdown(transcript))
    assert html.count("<strong>") == 4
    assert html.count("<pre>") == 2


def test_what_would_run_or_load_is_text_or_a_link() -> None:
    hostile = '<script>alert(1)</script> ![x](http://h/leak) <img src="http://h/leak">'
    transcript = read_transcript(
        [{"role": "user", "content": hostile}, {"role": "assistant", "content": hostile}]
    )
    html = MarkdownIt("commonmark", {"html": True}).render(transcript_markdown(transcript))
    assert "<script" not in html and "<img" not in html
    assert "alert(1)" in html


def test_images_are_named_and_not_loaded() -> None:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in (PIXEL, "https://h/a.png")]
    text = transcript_markdown(
        read_transcript([{"role": "user", "content": [{"type": "text", "text": "see"}, *parts]}])
    )
    assert "see\n\n*image 1: image/gif, 15 bytes*\n\n[image 2](https://h/a.png)" in text
    assert "base64" not in text


def test_calls_of_tools_stand_below_the_answer_as_code() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": "```"}'}}
    text = transcript_markdown(answered(tool_calls=[call]))
    assert 'so\n\nTool call: add\n\n````json\n{"a": "```"}\n````' in text


def test_a_question_that_never_was_is_not_shown() -> None:
    text = transcript_markdown(read_transcript([{"role": "assistant", "content": "Welcome"}]))
    assert text == "**Model**\n\nWelcome\n"


def test_a_question_without_an_answer_says_so() -> None:
    text = transcript_markdown(read_transcript([{"role": "user", "content": "why?"}]))
    assert text.endswith("<em>Interrupted: the question has no answer yet; resume it to have one.</em>\n")

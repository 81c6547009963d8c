"""Templates: what is a mark in a prompt, and what stays as it stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ssechat.template import Mark, filled


def shown(text: str) -> str:
    """The text with each mark shown as ‹expression›, or ‹expression|format›."""
    return filled(text, lambda mark: "‹" + "|".join(filter(None, [mark.expression, mark.format])) + "›")


@pytest.mark.parametrize(
    ("text", "filled_in"),
    [
        ("a {{x}} b {{ y }}", "a ‹x› b ‹y›"),
        ("{{x}}{{y}}", "‹x›‹y›"),
        ("{{df.head(3)['a'].mean()}}", "‹df.head(3)['a'].mean()›"),
        ("{{ {'a': {'b': x}} }}!", "‹{'a': {'b': x}}›!"),
        ("{{[i for i in range(3)]}}", "‹[i for i in range(3)]›"),
        ("{{x[1:2]}}", "‹x[1:2]›"),
        ("{{mean:.2f}} {{n:,}} {{day:%Y-%m-%d}}", "‹mean|.2f› ‹n|,› ‹day|%Y-%m-%d›"),
        ("```python\n{{code}}\n```", "```python\n‹code›\n```"),
    ],
)
def test_an_expression_that_uses_a_name_is_a_mark(text: str, filled_in: str) -> None:
    assert shown(text) == filled_in


@pytest.mark.parametrize(
    "text",
    [
        "{x} {} {{}} f'{x}'",
        "int a[2][2] = {{1,2},{3,4}};",
        "{{1, 2}} x^{{2}}",
        "style={{color: 'red', width: 10}}",
        "{{#if x}} {{/if}} {{ .Values.x }} {{> partial}} {{% raw %}}",
        "{{x",
        "x}} {{",
        "{{x\n}}",
        "func main() {{",
        "{{'text'}}",
    ],
)
def test_all_other_braces_stay(text: str) -> None:
    assert shown(text) == text


def test_a_backslash_makes_text_of_a_mark_and_goes() -> None:
    assert shown(r"\{{x}} and {{x}}") == "{{x}} and ‹x›"


def test_a_backslash_before_what_is_no_mark_stays() -> None:
    assert shown(r"\{{1,2}}") == r"\{{1,2}}"


def test_a_third_brace_is_text() -> None:
    assert shown("{{{x}}}") == "{‹x›}"


def test_what_is_filled_in_is_not_looked_at_again() -> None:
    assert filled("{{x}}", lambda mark: "{{y}}") == "{{y}}"


@pytest.mark.parametrize(
    ("text", "filled_in"),
    [
        ("see {{x}} there", "see \n1\n2\n there"),
        ("{{x}}\nthere", "1\n2\nthere"),
        ("```\n  {{x}}\n```", "```\n  1\n2\n```"),
        ("see {{x}}", "see \n1\n2"),
        ("{{x}}{{x}}", "1\n2\n1\n2"),
    ],
)
def test_what_has_several_lines_gets_lines_of_its_own(text: str, filled_in: str) -> None:
    assert filled(text, lambda mark: "1\n2") == filled_in


def test_a_mark_says_what_it_was() -> None:
    assert str(Mark("mean", ".2f")) == "{{mean:.2f}}"


@given(st.text(st.sampled_from("{}\\x1:. \n'\"#"), max_size=30))
def test_a_text_without_marks_is_untouched_and_each_mark_is_replaced_once(text: str) -> None:
    marks: list[Mark] = []
    result = filled(text, lambda mark: marks.append(mark) or "")
    if not marks and "\\{{" not in text:
        assert result == text
    assert len(result) <= len(text)


def test_a_long_line_full_of_braces_is_read_in_time_that_grows_with_it() -> None:
    text = "{{a b " * 2000 + "}} " * 2000
    assert shown(text) == text


@pytest.mark.parametrize("text", ["style={{flex: 1}}", "<Box sx={{m: 0}} />"])
def test_a_blank_after_the_colon_is_no_format(text: str) -> None:
    assert shown(text) == text

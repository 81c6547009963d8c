from __future__ import annotations

import re
import time
from html import unescape
from html.parser import HTMLParser
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from nbconvert.filters.markdown_mistune import markdown2html_mistune  # pyright: ignore[reportMissingTypeStubs]

from jupyter_ssechat import demo
from jupyter_ssechat.message import Source
from jupyter_ssechat.projection import to_markdown

MARKDOWN_IT = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HARMLESS = re.compile(
    "p|h[1-6]|ul|ol|li|blockquote|pre|code|em|strong|del|s|a|br|hr|table|thead|tbody|tr|t[hd]|input|span|div"
    "|details|summary|d[ldt]"
)

# Pieces of Markdown, HTML and TeX that parsers disagree about, when they meet.
HOSTILE = [
    *"`~*_[]()!$\\<>|\"'#-@:&;{}x0 \n\t",
    *(
        "``",
        "```",
        "~~~",
        "~~",
        "$$",
        "**",
        "![",
        "](",
        "]:",
        "![](",
        "[r]",
        "@@0@@",
        "@@1",
        "\\`",
        "\\$",
        "\\\\",
    ),
    *(
        "\n\n",
        "\n> ",
        "\n- ",
        "\n1. ",
        "\n  ",
        "\n    ",
        "\n# ",
        "\n---\n",
        "\n|-|-|\n| ",
        "\n```\n",
        "\n~~~\n",
        "\n   ```\n",
    ),
    *("\\(", "\\)", "\\[", "\\]", "\\\\(", "\\\\[", "\\\\]", "\\begin{a}", "\\end{a}", "$x$", "`$`"),
    *(
        "<img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
        "</details>",
        "<!-- ",
        "-->",
        "<a href='javascript:x'>",
    ),
    *(
        "`<img src=x>`",
        "``<img>``",
        "\n```\n<img src=x>\n```\n",
        "\n\n```html\n<img src=x>\n```\n\n",
        "\n   ```\n   <img>\n   ```\n",
    ),
    *(
        "![a](http://e/?q)",
        "![][r]",
        "[a](javascript:alert(1))",
        "[a](http://x 't')",
        "\n[r]: javascript:x\n",
        "\n[r]: http://x\n",
    ),
    *(
        "http://a",
        "www.a.b",
        "<http://a>",
        "a@b.c",
        "&lt;",
        "&#60;",
        "\u2028",
        "\xa0",
        "\x0c",
        "\r",
        "\ud800",
        "中文",
        "🇨🇳",
    ),
]
hostile = st.lists(st.sampled_from(HOSTILE), max_size=40).map("".join)


class Page(HTMLParser):
    """What a browser would find in a page: elements, addresses, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.ends: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.ends.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def pages(markdown: str) -> list[Page]:
    """Render with nbconvert's parser and with a parser that lets HTML through."""
    return [Page(str(markdown2html_mistune(markdown))), Page(MARKDOWN_IT.render(markdown))]


def assert_harmless(markdown: str) -> None:
    for page in pages(markdown):
        for name, attributes in page.elements:
            assert HARMLESS.fullmatch(name)
            assert not [one for one in attributes if one.startswith("on") or one == "src"]
            scheme = re.match(
                r"[a-z][a-z0-9+.-]*:", re.sub(r"[\x00-\x20]", "", attributes.get("href") or "").lower()
            )
            assert scheme is None or scheme[0] in ("http:", "https:", "mailto:")


def visible(html: str) -> str:
    return re.sub(r"\s+", " ", Page(html).text).strip()


# --- what is safe stays as it is


@given(st.text(alphabet=st.sampled_from("ab Z09.,;:?-+*#_(){}/=>\"'%^| \n中。é🙂"), max_size=300))
def test_prose_comes_back_byte_for_byte(text: str) -> None:
    assert to_markdown(text) == (text if text.strip() else "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello\n",
        "a < b, x <= y, 1 <3",
        "It costs $5.",
        "$x$ and $$y$$",
        "$$\na \\\\[2pt] b\n$$",
        "\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}",
        "`a` and ``b ` c``, `$HOME`, `x | y`, `a[0]`, `~/.bashrc`",
        "`List<int>` and `<div>`",
        '[a](http://a.b/c_(d)?e=f#g "title"), [b](#b), [c](c/d.md), [d](mailto:a@b.c), [e][r], <https://a.b>, <a@b.c>',
        '[r]: https://a.b "title"\n[s]: http://c.d',
        "Note [1]: this is not a definition.",
        "1. a\n   ```python\n   print('$x')\n   ```\n2. b",
        "> ```\n> quoted \\(x\\)\n> ```",
        "Text\n```python\nx = 1\n```\nmore",
        "Text\n\n```html\n<b>&amp; ![a](b) \\(x\\)</b>\n```\n\nmore",
        "~~~~\n```\n~~~~",
        "    indented $x$\n\n    code\n\nend",
        "- [ ] task\n- [x] done",
        "| a | b |\n|---|---|\n| $x$ | `y` |",
        "a \\* b \\_ c \\# d",
        "**粗体** 👩‍👩‍👧‍👦 ~~del~~",
    ],
)
def test_ordinary_markdown_comes_back_byte_for_byte(text: str) -> None:
    assert to_markdown(text) == text


@pytest.mark.parametrize(
    "prompt",
    ["SSE", "什么是流？", "hello", "code", "math", "compare", "long", "写代码", "积分", "表格", "长"],
)
def test_what_the_demo_says_comes_back_byte_for_byte(prompt: str) -> None:
    content = "".join(token.text for token in demo.script(prompt) if token.kind == "content")
    assert to_markdown(content) == content


# --- what is not is rewritten


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        # images are links
        ("![alt](http://a/b.png)", "[image: alt](http://a/b.png)"),
        ('![](http://a/b.png "t")', '[image](http://a/b.png "t")'),
        ("!![a](b)", "&#33;[image: a](b)"),
        ("\\![a](b)", "&#33;[a](b)"),
        (
            "![a][r] ![r][] ![r]\n\n[r]: http://x",
            "[image: a][r] [image: r][r] [image: r][r]\n\n[r]: http://x",
        ),
        ("![a][none] ![none]", "&#33;[a][none] &#33;[none]"),
        ("[![a](http://i)](http://l)", "[image: a](http://i) ([link](http://l))"),
        ("![a](javascript:x)", "&#33;[a]&#40;javascript:x)"),
        (
            f"![a](data:image/png;base64,{'A' * 99})",
            "&#33;[a]&#40;data:image/png;base64,AAAAAAAAAAAAAAAAAA…)",
        ),
        ("![open", "&#33;[open"),
        # HTML is text
        ("<b>x</b>", "&lt;b>x&lt;/b>"),
        ("\\<b>", "&lt;b>"),
        ("<!-- x --> <?x?>", "&lt;!-- x --> &lt;?x?>"),
        ("&lt;b&gt; &#60;", "&lt;b&gt; &#60;"),
        ("<javascript:x> <ftp://x>", "&lt;javascript:x> &lt;ftp://x>"),
        # links keep only harmless addresses
        ("[a](javascript:x)", "[a]&#40;javascript:x)"),
        ("[a](java&#115;cript:x)", "[a]&#40;java&#115;cript:x)"),
        ("[a](<javascript:x>)", "[a]&#40;&lt;javascript:x>)"),
        ("[a](data:text/html,x) [b](file:///x)", "[a]&#40;data:text/html,x) [b]&#40;file:///x)"),
        ("[a](http://x/$y$)", "[a](http://x/%24y%24)"),
        ('[a](http://x "$y$")', "[a](http://x)"),
        ("[r]: javascript:x\n[s]:\njavascript:x", "[r]&#58; javascript:x\n[s]&#58;\njavascript:x"),
        # math
        ("\\(x\\) and \\( y \\)", "$x$ and $y$"),
        ("\\[x\\]", "$$x$$"),
        ("so\n\\[\nx\n- y\n\\]", "so\n$$\nx\n{}- y\n$$"),
        ("so \\[\nx\n\\]", "so \n$$\nx\n$$"),
        ("\\(a<b\\)", "$a< b$"),
        ("\\(open and \\[open", "\\(open and \\[open"),
        ("`\\(x\\)` \\(y\\)", "`\\(x\\)` $y$"),
        ("$5 or $6", "<span>&#36;</span>5 or <span>&#36;</span>6"),
        ("\\[1\\](http://x)", "\\[1\\](http://x)"),
        # code
        ("`open", "&#96;open"),
        ("`a\nb`", "`a`\n`b`"),
        ("```x<y``` ``x`<``", "`x<y` <code>x&#96;&#60;</code>"),
        ("| a |\n|---|\n| `b \\| c` |", "| a |\n|---|\n| <code>b &#124; c</code> |"),
        ("```python\nx", "```python\nx\n```"),
        ("  ```\n  <b>\n  ```", "```\n<b>\n```"),
        ("a\n```\n<b>\n```\nc", "a\n\n```\n<b>\n```\n\nc"),
        ("1. a\n   ```\n   <b>\n   ```", "1. a\n\n   ```\n   <b>\n   ```"),
        ("> ```\n> <b>\n> ```", "> <pre><code>&#60;b&#62;&#10;</code></pre>"),
        ("- ```\n  <b>\n  ```", "- <pre><code>&#60;b&#62;&#10;</code></pre>"),
        ("    <b>", "```\n<b>\n```"),
        ('```x"><img src=x>\ny\n```', "```ximg src=x\ny\n```"),
        ("```mermaid\nA --> B\n```", "```mermaid\nA --> B\n```"),
        ("```mermaid\nA@{ img: 'http://x' }\n```", "```text\nA@{ img: 'http://x' }\n```"),
        # line ends, controls, halves of pairs
        ("a\r\nb\rc\x00\x1b\ud800", "a\nb\nc\ufffd\ufffd"),
    ],
)
def test_the_rest_is_rewritten(text: str, markdown: str) -> None:
    assert to_markdown(text) == markdown


def test_an_answer_cut_inside_a_fence_does_not_swallow_what_comes_after() -> None:
    assert (
        to_markdown("```python\nx = [", status_note="Stopped.")
        == "```python\nx = [\n```\n\n<em>Stopped.</em>"
    )


def test_a_status_note_is_text() -> None:
    assert to_markdown("", status_note="404 <b>\n`x` $y$") == (
        "<em>404 &#60;b&#62; &#96;x&#96; <span>&#36;</span>y<span>&#36;</span></em>"
    )


# --- the thinking


def test_thinking_is_folded_away_above_the_answer() -> None:
    assert to_markdown("Answer", "One\n\n  two") == (
        "<details>\n<summary>Thinking</summary>\nOne<br>\n<br>\n&nbsp;&nbsp;two\n</details>\n\nAnswer"
    )


@pytest.mark.parametrize("thinking", ["", " \n", "\x00\x1b"[1:]])
def test_no_thinking_leaves_no_trace(thinking: str) -> None:
    assert to_markdown("Answer", thinking) == "Answer"


@given(hostile, hostile)
def test_nothing_breaks_out_of_the_thinking(thinking: str, content: str) -> None:
    markdown = to_markdown(content, thinking)
    assert_harmless(markdown)
    shown = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\s]", "", thinking.replace("\ud800", "\ufffd"))
    for page in pages(markdown):
        assert page.ends.count("details") == (1 if shown else 0)
    block = markdown.split("\n\n")[0]
    if shown:
        assert re.sub(r"\s", "", Page(block).text) == "Thinking" + shown


# --- everything, against everybody


@given(hostile)
def test_nothing_runs_or_loads(text: str) -> None:
    assert_harmless(to_markdown(text))


ANSWER = """Intro `a<b>` with **bold** and [link](http://x.y/z).

1. First:

   ```html
   <img onerror=1 src=x>
   ```

2. Second $x<y$ and \\(a\\)
   - nested `<img src=x>`
     ~~~
     <img src=x>
     ~~~

> quote `<img src=x>`
> ```
> <img src=x>
> ```

| a | b |
|---|---|
| `<img src=x>` | $x|y$ |

    <img src=x>

$$
\\begin{a}
x < y
\\end{a}
$$

```
<img src=x>
```
end ![i](http://i) [r]

[r]: http://r "t"
"""


@given(st.lists(st.tuples(st.integers(0, len(ANSWER)), st.sampled_from(HOSTILE)), max_size=6))
def test_no_piece_in_any_place_makes_an_answer_harmful(pieces: list[tuple[int, str]]) -> None:
    text = ANSWER
    for place, piece in pieces:
        text = text[:place] + piece + text[place:]
    assert_harmless(to_markdown(text))


@pytest.mark.parametrize(
    "text",
    [
        # Each of these ran or loaded something in one parser when an earlier version passed it on.
        "~`<img src=x>`",
        "http://a/`<img src=x>`",
        "http://a<`<img src=x>`",
        "$ `a $\n<img src=x> `",
        "\\begin{x}\n```\n\\end{x}\n<img src=x>\n```",
        "o$$}\n$$\n~~~\n<img src=x>$$",
        "*  )\n  ```\n```\n    <img src=x>",
        "*foo ``<img src=x>* ``",
        "`a\\` *x `<img src=x>* y`",
        "[x `](http://a)` *y `<img src=x>* `",
        "<3 `foo> ` *y `<img src=x>* `",
        '[a]: http://x "foo\n\n```html\n" \n<img src=x>\n```',
        "`$$`\n\n```\n$$\n<img src=x>\n```",
        "\\\\$x$ `a $ <img src=x>`",
        'http://a/$"onmouseover="alert(1)"$',
        '[x](http://a/$"onmouseover="alert(1)"$)',
        "```\n```~\n<img src=x>\n```",
    ],
)
def test_what_once_came_through_no_longer_does(text: str) -> None:
    assert_harmless(to_markdown(text))
    assert 'onmouseover="' not in re.sub(
        r"`[^`]*`", "", "".join(str(page.elements) for page in pages(to_markdown(text)))
    )


plain = [one for one in HOSTILE if not set(one) & set("[]\r\x0c\ud800") and "{" not in one]


@given(st.lists(st.sampled_from(plain), max_size=30).map("".join))
def test_no_visible_letter_is_lost(text: str) -> None:
    shown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).render(text)
    letters = iter(visible(MARKDOWN_IT.render(to_markdown(text))))
    assert all(one in letters for one in visible(shown) if one.isalnum() or one in "<>")


@given(hostile)
def test_the_same_answer_gives_the_same_markdown(text: str) -> None:
    assert to_markdown(text, text, status_note=text) == to_markdown(text, text, status_note=text)


REPEATED = [
    *(
        "`",
        "` ",
        "`<",
        "``a",
        "[",
        "![",
        "](",
        "[a](",
        "](a",
        "(",
        "!",
        "$",
        "$ ",
        "$a",
        "$$ {",
        "\\",
        "\\(",
        "\\[",
        "\\begin{a}",
    ),
    *(
        "<",
        "<a",
        "<http://",
        "http://a`",
        "~~~",
        "*",
        "@@",
        "> ",
        ">",
        "- ",
        "1. ",
        "|",
        "[a]: b\n",
        "[a]:\n",
        "]: ",
        '](x "',
        "[![",
    ),
    *(
        "|a|b\n|-|-\n",
        "```\n",
        "    a\n",
        "- a\n",
        "`a\n",
        "- ```\n",
        "> ```\n> <\n",
        "\n",
        "\t",
        "www.",
        "&",
        "\x00",
    ),
]


@pytest.mark.parametrize("piece", REPEATED)
def test_a_pathological_answer_takes_linear_time(piece: str) -> None:
    def seconds(size: int) -> float:
        text = (piece * (size // len(piece) + 1))[:size]
        begin = time.process_time()
        to_markdown(text, text)
        return time.process_time() - begin

    small = min(seconds(10_000), seconds(10_000))
    assert seconds(100_000) < 40 * small + 0.5


def test_many_different_runs_and_environments_take_linear_time() -> None:
    runs = "".join("`" * number + "a" for number in range(1, 600))
    names = "".join(
        chain.from_iterable((f"\\begin{{{'a' * (n % 60)}{'b' * (n // 60)}}}", "{") for n in range(3000))
    )
    begin = time.process_time()
    to_markdown(runs)
    to_markdown(names + names.replace("begin", "end"))
    assert time.process_time() - begin < 10


def test_the_bytes_of_an_answer_are_not_changed_by_its_thinking_or_note() -> None:
    arguments: dict[str, Any] = {"status_note": "Stopped."}
    assert to_markdown("a\n", "b", **arguments).split("\n\n")[1] == "a"


# ---- sources ----


def links(page: Page) -> list[str | None]:
    return [attributes.get("href") for name, attributes in page.elements if name == "a"]


def test_sources_are_a_list_of_links_below_how_it_ended() -> None:
    found = [Source("SSE", "https://html.example/spec#sse"), Source("", "http://b.example/?a=1&copy=2")]
    assert to_markdown("So.", status_note="Stopped.", sources=found) == (
        "So.\n\n<em>Stopped.</em>\n\n**Sources**\n\n"
        "1. [SSE](https://html.example/spec#sse)\n"
        "2. [http&#58;&#47;&#47;b.example&#47;&#63;a&#61;1&#38;copy&#61;2](http://b.example/?a=1&amp;copy=2)"
    )
    for page in pages(to_markdown("So.", sources=found)):
        assert links(page) == [one.url for one in found]
        assert page.text.split() == ["So.", "Sources", "SSE", "http://b.example/?a=1&copy=2"]


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "data:text/html,x", "//a.example/", "/a", "ftp://a.example/", "https://", ""],
)
def test_a_source_that_cannot_be_followed_safely_is_left_to_the_live_view(url: str) -> None:
    assert to_markdown("So.", sources=[Source("x", url)]) == "So."


@given(hostile, hostile)
def test_a_hostile_source_is_one_link_and_its_title_only_text(title: str, path: str) -> None:
    text = to_markdown("So.", sources=[Source(title, "https://a.example/" + path)])
    assert_harmless(text)
    assert "$" not in text and "\\" not in text and "@@" not in text
    for page in pages(text):
        assert len(links(page)) == text.count("](") <= 1
        assert {name for name, _ in page.elements} <= {"p", "strong", "ol", "li", "a", "span"}


@given(st.text())
def test_a_title_shows_exactly_its_words(title: str) -> None:
    shown = " ".join(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "", title.replace("\x00", "\ufffd")).split())
    text = to_markdown("", sources=[Source(title, "https://a.example/")])
    for page in pages(text):
        assert " ".join(page.text.split()) == f"Sources {shown or 'https://a.example/'}"


def test_a_flood_of_marks_is_written_as_signs_since_it_would_hold_a_page_for_minutes() -> None:
    flood = to_markdown("*a " * 15_000 + "and `*code*`")
    assert flood.count("*") == 2 and flood.endswith("and `*code*`")
    assert "".join(re.findall("[*]", unescape(flood))) == "*" * 15_002
    marked = "\n".join(f"* item *{number}* of _many_" for number in range(3000))
    assert to_markdown(marked) == marked, "what begins a line, and what each item has, stays"

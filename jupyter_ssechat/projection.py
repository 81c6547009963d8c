"""An answer → native Markdown that is safe to keep in a notebook (design, section 3, "Saved notebooks").

JupyterLab renders the output of a cell that was run as trusted: what stands in it as HTML runs, and images load
without a click. So the answer is projected, not copied: images become links, HTML becomes text, links keep
only harmless addresses, ``\\(…\\)`` and ``\\[…\\]`` become the dollars that JupyterLab knows. Code keeps its place
and its text, all else that is not touched keeps its bytes. `prose` has the rules for what is not code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from .message import Source
from .prose import MAX_ADDRESS, Line, Place, definitions, entities, project

# What runs, loads or links if a parser takes code for something else.
_LIVE = re.compile(r"<|\]\(|\]\[|\]:|!\[")
_LIVE_SPAN = re.compile(r"`[^`\n<]*+<[^`\n]*+`")
_ODD_IN_INFO = re.compile(r"[^\w+#.,:={}/ -]")
# A diagram may fetch images and run callbacks; JupyterLab and nbconvert draw it without being asked.
_LOADING_DIAGRAM = re.compile(
    r"//|@\{|%%\{|^\s*---\s*$|<(?!br\s*/?>)|&#|&\w+;|#\w+;|\\|!\[|\b(?:url|img|href|click|callback|themeCSS)\b",
    re.I | re.M,
)
# With a formula right after it, JupyterLab takes this for a formula of its own, and fails if there is none.
_FORMULA_MARK = re.compile(r"@@[0-9]")
_WEB_ADDRESS = re.compile(r"https?://[^/\s]+\S*", re.I)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class _Code:
    """A code block and the lines it takes, `end` excluded."""

    token: Token
    containers: tuple[str, ...]

    @property
    def begin(self) -> int:
        return _lines_of(self.token)[0]

    @property
    def end(self) -> int:
        return _lines_of(self.token)[1]


def to_markdown(
    content: str, thinking: str = "", *, status_note: str = "", sources: Sequence[Source] = ()
) -> str:
    """Return an answer as Markdown for a notebook's output.

    Thinking is folded away; below the answer stand a line on how it ended, and the sources on the web.

    The same texts give the same Markdown. Prose and ordinary code come back unchanged.
    """
    parts = [
        _thinking(thinking),
        _answer(content),
        f"<em>{_literal(status_note)}</em>" if status_note else "",
        _sources(sources),
    ]
    kept = [part for part in parts if part.strip()]
    return "\n\n".join([*(part.rstrip("\n") for part in kept[:-1]), *kept[-1:]])


def _thinking(text: str) -> str:
    text = _clean(text).strip()
    if not text:
        return ""
    # One HTML block: it lasts up to the first blank line, and there is none.
    lines = "<br>\n".join(_literal(line) for line in text.split("\n"))
    return f"<details>\n<summary>Thinking</summary>\n{lines}\n</details>"


def _sources(sources: Sequence[Source]) -> str:
    """Write those that can be followed as a list of links; the rest is only known to the live view."""
    found = [one for one in sources if _WEB_ADDRESS.fullmatch(one.url) and len(one.url) <= MAX_ADDRESS]
    lines = [f"{number}. [{_label(one)}]({_address(one.url)})" for number, one in enumerate(found, 1)]
    return "\n".join(["**Sources**", "", *lines]) if lines else ""


def _label(source: Source) -> str:
    title = " ".join(_clean(source.title).split()) or source.url
    text = entities(_clean(title))
    # As in `_literal`: what divides a formula is a tag.
    return re.sub(r"&#(?:36|92);", lambda found: f"<span>{found[0]}</span>", text)


def _address(url: str) -> str:
    """Write an address so that no parser finds anything in it but its characters."""
    safe = quote(_clean(url), safe="%/:?#&=+,;@~!-._")
    return safe.replace("&", "&amp;").replace("@@", "%40%40")


def _literal(text: str) -> str:
    """Write text as HTML that shows exactly this text, also where formulas are looked for in the page."""
    text = _clean(text).expandtabs(4)
    text = re.sub(r"[&<>`\[\]@~]", lambda found: f"&#{ord(found[0])};", text)
    # MathJax finds dollars and backslashes behind entities too, but does not join what tags divide.
    text = re.sub(r"[$\\]", lambda found: f"<span>&#{ord(found[0])};</span>", text)
    return re.sub(r"^ +|(?<= ) +", lambda found: "&nbsp;" * len(found[0]), text).replace("\n", " ")


def _clean(text: str) -> str:
    """Give every line end one form and drop what is no text: controls, halves of surrogate pairs."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "\ufffd"))


def _answer(content: str) -> str:
    text = _clean(content)
    source = text.split("\n")
    codes, lines = _read(text, source)
    defined = definitions(source) if "]:" in text else frozenset[str]()
    hides = bool(_LIVE_SPAN.search(text)) or any(_LIVE.search(code.token.content) for code in codes)
    page = _Page()
    for block in _blocks(lines, codes):
        if isinstance(block, _Code):
            _write_code(block, source, page, hides=hides)
        else:
            page.write(project(block, defined, lone_dollar=text.count("$") == 1) if block else "")
    return "\n".join(page.parts)


class _Page:
    """What has been written, with a blank line where one is needed."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._apart = False

    def write(self, text: str, *, apart: bool = False) -> None:
        """Add lines; `apart` puts a blank line before and after them."""
        if self.parts and self.parts[-1].strip(" \t") and text.strip(" \t") and (apart or self._apart):
            self.parts.append("")
        self.parts.append(text)
        self._apart = apart


# --- reading


def _parser() -> MarkdownIt:
    # Blocks only: which lines are code, and which belong together. Definitions are read in `prose`.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("reference")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


def _read(text: str, source: Sequence[str]) -> tuple[list[_Code], list[Line]]:
    """Find the code blocks, and for each line what it belongs to."""
    codes: list[_Code] = []
    lines = [Line(line, number) for number, line in enumerate(source)]
    containers: list[str] = []
    for token in _parser().parse(text):
        if token.type in ("blockquote_open", "list_item_open", "table_open"):
            containers.append(token.type)
        elif token.type in ("blockquote_close", "list_item_close", "table_close"):
            containers.pop()
        if token.type in ("fence", "code_block"):
            codes.append(_Code(token, tuple(containers)))
        elif token.type in ("inline", "table_open") and token.map:
            _mark_lines(lines, token.map[0], token.map[1], containers)
    return codes, lines


def _mark_lines(lines: list[Line], begin: int, end: int, containers: Sequence[str]) -> None:
    place: Place = (
        "quote" if "blockquote_open" in containers else "list" if "list_item_open" in containers else "plain"
    )
    table = "table_open" in containers
    for number in range(begin, end):
        # The rows of a table are apart, the lines of a paragraph belong together.
        lines[number] = Line(lines[number].text, number if table else begin, place, table)


def _blocks(lines: Sequence[Line], codes: Sequence[_Code]) -> Iterator[_Code | list[Line]]:
    """Yield code blocks, blank lines (as empty lists) and the chunks of lines between them."""
    starts = {code.begin: code for code in codes}
    number = 0
    chunk: list[Line] = []
    while number <= len(lines):
        code = starts.get(number)
        blank = number < len(lines) and not lines[number].text.strip(" \t")
        if chunk and (code or blank or number == len(lines)):
            yield chunk
            chunk = []
        if code:
            yield code
        elif blank:
            yield []
        elif number < len(lines):
            chunk.append(lines[number])
        number = code.end if code else number + 1


def _lines_of(token: Token) -> tuple[int, int]:
    assert token.map is not None, "a code block has lines"
    return token.map[0], token.map[1]


# --- writing code


def _write_code(code: _Code, source: Sequence[str], page: _Page, *, hides: bool) -> None:
    """Write a code block as it is, or so that every parser sees it, where the answer `hides` something in code."""
    lines = source[code.begin : code.end]
    indent = _indent(code, lines[0])
    if _is_whole(code.token, lines) and not hides:
        page.write("\n".join(lines))
    elif indent is None or _FORMULA_MARK.search(code.token.content):
        page.write(_before(code, lines[0]) + f"<pre><code>{entities(code.token.content)}</code></pre>")
    else:
        page.write("\n".join(_fenced(code.token, indent)), apart=True)


def _is_whole(token: Token, lines: Sequence[str]) -> bool:
    """Tell whether a block has an end that everybody knows, and nothing odd after its fence."""
    closed = len(lines) == token.content.count("\n") + 2 and lines[-1].lstrip(" \t>") == token.markup
    known = token.type == "code_block" or closed
    return known and _info(token) == token.info and not _FORMULA_MARK.search(token.content)


def _indent(code: _Code, line: str) -> str | None:
    """Return how far to indent a fence in place of this block; None where no fence is safe.

    In a quotation the lines between are not blank to JupyterLab's filter for math, so a formula could begin
    before the fence and end inside it; beside the marker of a list there is no room for a blank line at all.
    """
    if not code.containers:
        return ""
    wide = line.expandtabs(4)
    width = len(wide) - len(wide.lstrip(" "))
    if code.token.type == "code_block":
        first = code.token.content.split("\n", 1)[0]
        width -= 4 + len(first) - len(first.lstrip(" "))
        begins = line.lstrip(" \t") == first.lstrip(" \t")
    else:
        begins = line.lstrip(" \t").startswith(code.token.markup)
    if "blockquote_open" in code.containers or not begins or width < 0:
        return None
    return " " * width


def _fenced(token: Token, indent: str) -> list[str]:
    """Return the lines of a block in a fence that nothing inside it can close."""
    mark = token.markup[:1] or "`"
    inside = re.findall(rf"^\s*({mark}{{3,}})", token.content, re.M)
    fence = mark * max([len(token.markup), 3, *(len(run) + 1 for run in inside)])
    content = token.content.removesuffix("\n").split("\n") if token.content else []
    return [
        indent + fence + _info(token),
        *(indent + line if line else "" for line in content),
        indent + fence,
    ]


def _info(token: Token) -> str:
    """Return the words after a fence as they may stand: JupyterLab writes them into an attribute unescaped."""
    info = _ODD_IN_INFO.sub("", token.info)
    if info.strip().lower().startswith("mermaid") and _LOADING_DIAGRAM.search(token.content):
        return "text"
    return info


def _before(code: _Code, line: str) -> str:
    """Return the marks of quotations and lists before a block."""
    if code.token.type == "fence":
        return line[: line.index(code.token.markup)]
    first = code.token.content.split("\n", 1)[0].lstrip(" \t")
    marks = line[: len(line) - len(first)].rstrip(" \t") if line.endswith(first) else ""
    return marks + " " if marks else ""

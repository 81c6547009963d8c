"""Markdown that is not code → the same Markdown, with nothing in it that loads, runs or breaks out.

Several parsers read the result (marked behind JupyterLab's filter for math, mistune behind nbconvert's, markdown-it,
GitHub's), each with its own idea of where a code span, a link or a formula ends. So nothing here depends on
how they read, only on what stands in the text:

- ``<`` stands only in code spans that all of them see, in checked autolinks, and in tags written here;
- there is no ``![``, and ``](`` or ``]:`` only before a checked address;
- backticks stand in pairs on one line, delimiters of math in pairs within one paragraph, and none of them in an
  address or a title, where JupyterLab would put a formula back unescaped.

A code span that is not simple enough for that becomes ``<code>``, its punctuation marks entities.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

Place = Literal["plain", "list", "quote"]

MAX_ADDRESS = 2000
MAX_FORMULA = 10_000
MAX_MARKS = 1000
"""Marks of emphasis in one paragraph; JupyterLab's parser takes the square of their number in time."""

_PUNCTUATION = r"!-/:-@\[-`{-~"
_ADDRESS = rf"(?:[^\s()<>\[\]\\`]|\([^\s()<>\[\]\\`]*\)){{0,{MAX_ADDRESS}}}"
_TITLE = r"\"[^\"\n<`]*\"|'[^'\n<`]*'"
_TOKEN = re.compile(
    rf"""(?P<twice>\\\\(?=[()\[\]]|(?:begin|end)\{{))
    |(?P<begin>\\begin\{{[a-zA-Z]*\*?\}})
    |(?P<end>\\end\{{[a-zA-Z]*\*?\}})
    |(?P<tex>\\[()\[\]])
    |(?P<escape>\\[{_PUNCTUATION}])
    |(?P<ticks>`+)
    |(?P<dollars>\$+)
    |(?P<auto><(?:(?:https?://|mailto:)[^\s<>`$\\"]{{0,{MAX_ADDRESS}}}|[\w.+-]{{1,64}}@[\w.-]{{1,255}})>)
    |(?P<less><)
    |(?P<image>!+\[?)
    |(?P<open>\[)
    |(?P<tail>\]\([ ]*(?:<[^<>\n`\\]{{0,{MAX_ADDRESS}}}>|{_ADDRESS})(?:[ ]+(?:{_TITLE}))?[ ]*\))
    |(?P<call>\]\()
    |(?P<define>\]:)
    |(?P<close>\])
    |(?P<at>@@)
    |(?P<tildes>~{{3,}})""",
    re.VERBOSE | re.ASCII | re.IGNORECASE,
)
_TAIL = re.compile(rf"\]\([ ]*(<[^>]*>|{_ADDRESS})(?:[ ]+({_TITLE}))?[ ]*\)", re.ASCII)
# All that some parser may take for a bare address: backticks and dollars too, and a ``<`` that is an entity then.
_BARE_ADDRESS = re.compile(r"(?:(?:https?|ftp)://|www\.)[^ \t\n]*", re.I)
_ABSOLUTE = re.compile(r"(?:https?://|mailto:)[^\"\\`]*", re.I)
_RELATIVE = re.compile(r"[^:&\"\\`]*")
_DEFINITION = re.compile(
    r"(?P<before>[\s>]*(?:[-+*][ ]+|[0-9]{1,9}[.)][ ]+){0,9}\[(?P<label>[^\[\]\\`<$@]{1,200}))\]:[ ]+"
    rf"(?P<address>[^\s<>\[\]`$\\@]{{1,{MAX_ADDRESS}}})(?:[ ]+\"[^\"\\`$<@&]*\")?[ ]*"
)
# After ``]:``, what no parser takes for an address and its title: nothing at all, or more words.
_NO_DEFINITION = re.compile(r"\s*\Z|\s*\S{1,200}[ \t]+[^\"'(\s]")
_MARKER = re.compile(r"[ \t]*(?:[-+*>#|~:]|=+[ \t]*(?:\n|$)|[0-9]+[.)])")
_MARKED_LINE = re.compile(rf"\n(?={_MARKER.pattern})")
_ONLY_MARKS = re.compile(r"[ \t>]*(?:(?:[-+*]|[0-9]+[.)])[ \t]+)*")
_CODE_LINE = re.compile(r"(^|\n[ \t>]*)([^\n]*)")
_DELIMITER_ROW = re.compile(r"^(?=[^\n]*-)[ \t>*+0-9.)|:-]+$", re.M)
# What the filters for math take even inside a code span; ``@@0@@`` is JupyterLab's mark for a formula.
_FILTERED = re.compile(r"\\(?:begin|end)\{|\\\\[()\[\]]|\$\$|@@[0-9]")
_LINKING = re.compile(r"\]\(|\]\[|\]:|!\[")
_MARKS = re.compile(r"[*_~]+")
_BRACE = re.compile(r"(?<!\\)[{}]")


@dataclass(frozen=True, slots=True)
class Line:
    """A source line; lines with the same `unit` are one paragraph, heading or table row."""

    text: str
    unit: int
    place: Place = "plain"
    table: bool = False


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    start: int
    out: str | None = None

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def entities(text: str) -> str:
    """Write text as HTML in which no Markdown parser finds anything; for ``<code>`` and ``<pre>``."""
    return re.sub(r"[!-+/:<-@\[-`{-~\t\n]", lambda found: f"&#{ord(found[0])};", text)


def definitions(lines: Sequence[str]) -> frozenset[str]:
    """Return the labels of the reference definitions that may stay, normalised."""
    found = (_DEFINITION.fullmatch(line) for line in lines if "]:" in line)
    return frozenset(_label(one["label"]) for one in found if one and _is_safe(one["address"]))


def project(lines: Sequence[Line], defined: frozenset[str], *, lone_dollar: bool) -> str:
    """Rewrite lines that have neither a blank line nor a code block between them.

    `defined` are the labels of the definitions that stay; `lone_dollar` tells that the whole answer has one
    dollar sign only, which may stay too.
    """
    return _Prose(lines, defined, lone_dollar=lone_dollar).written()


def _label(text: str) -> str:
    return " ".join(text.split()).casefold()


def _is_safe(address: str) -> bool:
    return bool(_ABSOLUTE.fullmatch(address) or _RELATIVE.fullmatch(address))


class _Prose:
    """One chunk of lines on its way from text through tokens to safe text."""

    def __init__(self, lines: Sequence[Line], defined: frozenset[str], *, lone_dollar: bool) -> None:
        self.lines = lines
        self.text = "\n".join(line.text for line in lines)
        self.defined = defined
        self.lone_dollar = lone_dollar
        self.starts = list(accumulate((len(line.text) + 1 for line in lines), initial=0))
        self.may_be_table = "|" in self.text and bool(_DELIMITER_ROW.search(self.text))
        self.addresses = [found.span() for found in _BARE_ADDRESS.finditer(self.text)]
        self.tokens = list(self._tokenize())
        self.strict = any(token.kind == "code" and "<" in token.text for token in self.tokens)
        marks = Counter(self.line_at(found.start()).unit for found in _MARKS.finditer(self.text))
        self.flooded = {unit for unit, count in marks.items() if count > MAX_MARKS}

    def written(self) -> str:
        """Return the safe text."""
        _mark_formulas(self)
        _mark_brackets(self)
        return "".join(self._write(token) if token.out is None else token.out for token in self.tokens)

    def line_number(self, position: int) -> int:
        """Return which line a position is in."""
        return min(bisect_right(self.starts, position), len(self.lines)) - 1

    def line_at(self, position: int) -> Line:
        """Return the line a position is in."""
        return self.lines[self.line_number(position)]

    def in_address(self, position: int) -> bool:
        """Tell whether some parser may take this place for part of a bare address."""
        index = bisect_right(self.addresses, (position, len(self.text))) - 1
        return index >= 0 and position < self.addresses[index][1]

    # --- text to tokens

    def _tokenize(self) -> Iterator[_Token]:
        closers = self._runs()
        position = 0
        while found := _TOKEN.search(self.text, position):
            if found.start() > position:
                yield _Token("text", self.text[position : found.start()], position)
            token = self._token(found, closers)
            yield token
            position = token.end
        yield _Token("text", self.text[position:], position)

    def _token(self, found: re.Match[str], closers: dict[tuple[int, int], list[int]]) -> _Token:
        kind, text, start = str(found.lastgroup), found[0], found.start()
        if kind == "ticks":
            return self._ticks(text, start, closers)
        if kind == "image" and not text.endswith("["):
            return _Token("text", text, start)
        if kind == "auto" and "@@" in text:
            return _Token("less", "<", start)
        return _Token(kind, text, start)

    def _runs(self) -> dict[tuple[int, int], list[int]]:
        """Return where the runs of backticks are, by paragraph and length."""
        places: dict[tuple[int, int], list[int]] = defaultdict(list)
        for run in re.finditer("`+", self.text):
            places[self.line_at(run.start()).unit, len(run[0])].append(run.start())
        return places

    def _ticks(self, run: str, start: int, closers: dict[tuple[int, int], list[int]]) -> _Token:
        line = self.line_at(start)
        places = closers.get((line.unit, len(run)), [])
        index = bisect_left(places, start + len(run))
        if index == len(places):
            return _Token("ticks", run, start)
        code = self.text[start : places[index] + len(run)]
        if line.table and re.search(r"(?<!\\)\|", code):
            return _Token("ticks", run, start)
        return _Token("code", code, start)

    # --- tokens to text

    def _write(self, token: _Token) -> str:
        match token.kind:
            case "less":
                # ``<=`` begins a tag to nobody, but marked then looks for a ``>`` and overlooks backticks.
                harmless = (" ",) if self.strict else (" ", "=", "-", *"0123456789")
                return "<" if self.text.startswith(harmless, token.end) else "&lt;"
            case "ticks":
                return "&#96;" * len(token.text)
            case "dollars":
                return self.literal_dollars(token.text)
            case "code":
                return self._code(token)
            case "escape":
                return self._escape(token)
            case "twice":
                return "&#92;"
            case "begin" | "end":
                return "&#92;" + token.text[1:]
            case "at":
                return "@&#64;"
            case "tildes":
                return "&#126;" + token.text[1:]
            case "define":
                return token.text if self._defines_well(token) else "]&#58;"
            case "text" if self.flooded:
                return _MARKS.sub(lambda found: self._unmarked(found, token.start), token.text)
            case _:
                return token.text

    def _unmarked(self, found: re.Match[str], start: int) -> str:
        """Marks of emphasis as plain signs where there are too many, but for those that begin a line."""
        place = start + found.start()
        number = self.line_number(place)
        begins = _ONLY_MARKS.match(self.lines[number].text)
        if self.lines[number].unit not in self.flooded or (
            begins and place < self.starts[number] + begins.end()
        ):
            return found[0]
        return entities(found[0])

    def literal_dollars(self, text: str) -> str:
        """Write dollar signs that are no delimiters."""
        # MathJax reads the page again, where an entity is a dollar; it does not join what tags divide.
        return text if self.lone_dollar else "<span>&#36;</span>" * len(text)

    def _escape(self, token: _Token) -> str:
        match token.text[1]:
            case "<":
                return "&lt;"
            case "`":
                return "&#96;"
            case "$" if not self.lone_dollar:
                return self.literal_dollars("$")
            case "!" if self.text.startswith("[", token.end):
                return "&#33;"
            case _:
                return token.text

    def _defines_well(self, token: _Token) -> bool:
        if _NO_DEFINITION.match(self.text, token.end):
            return True
        number = self.line_number(token.start)
        found = _DEFINITION.fullmatch(self.lines[number].text)
        if (
            not found
            or found.end("before") != token.start - self.starts[number]
            or not _is_safe(found["address"])
        ):
            return False
        below = self.lines[number + 1].text if number + 1 < len(self.lines) else ""
        return not below.lstrip(" \t>").startswith(('"', "'", "("))

    def _code(self, token: _Token) -> str:
        run = len(token.text) - len(token.text.lstrip("`"))
        content = token.text[run:-run]
        if "\n" not in content and self._is_simple(token, content, run):
            return token.text
        if self.line_at(token.start).table:
            content = content.replace("\\|", "|")
        # Line ends, with the marks of quotations after them, stay where they are: each line gets its own span.
        parts = [(found[1], found[2].strip()) for found in _CODE_LINE.finditer(content)]
        full = [part for part in parts if part[1]] or [("", " ")]
        return "".join(
            between * bool(index) + self._code_part(token, part) for index, (between, part) in enumerate(full)
        )

    def _code_part(self, token: _Token, content: str) -> str:
        if content.isspace() or "`" in content or not self._is_simple(token, content, 1):
            return f"<code>{entities(content)}</code>"
        return f"`{content}`"

    def _is_simple(self, token: _Token, content: str, run: int) -> bool:
        """Tell whether every parser sees code here and nothing else."""
        if _FILTERED.search(content) or _LINKING.search(content) or ("|" in content and self.may_be_table):
            return False
        if not self.strict:
            return True
        # Where a ``<`` must be hidden, nothing may put a parser out of step with the backticks.
        if self.text[token.start - 1 : token.start] in ("\\", "~") or self.in_address(token.start):
            return False
        odd = "`" in content or "~" in content or "$" in content or content.endswith("\\")
        return not odd and (run == 1 or (run == 2 and "<" not in content))


# --- formulas


def _mark_formulas(prose: _Prose) -> None:
    """Write the formulas; ``\\(…\\)`` and ``\\[…\\]`` become ``$…$`` and ``$$…$$``."""
    finder = _Formulas(prose)
    position = 0
    while position < len(prose.tokens):
        closer = finder.closer(position)
        if closer is not None and finder.is_formula(position, closer):
            finder.write(position, closer)
            position = closer
        position += 1


class _Formulas:
    """Finds what the filters for math take for a formula, if all of them agree."""

    def __init__(self, prose: _Prose) -> None:
        self.prose = prose
        self.tokens = prose.tokens
        self.places: dict[str, list[int]] = defaultdict(list)
        for index, token in enumerate(self.tokens):
            if token.kind in ("tex", "begin", "end"):
                self.places[token.text].append(index)
            elif token.kind == "dollars":
                self.places["dollars"].append(index)
                self.places[token.text].append(index)
        foreign = (token.kind in ("code", "tail", "auto") for token in self.tokens)
        self.foreign = list(accumulate(foreign, initial=0))

    def closer(self, index: int) -> int | None:
        """Return which token would end the formula that a token begins."""
        token = self.tokens[index]
        match token.kind, token.text:
            case "dollars", "$":
                found = self._next("dollars", index)
                return found if found is not None and self.tokens[found].text == "$" else None
            case "dollars", "$$":
                return self._next("$$", index)
            case "tex", "\\(" | "\\[":
                return self._next_unless_again("\\)" if token.text == "\\(" else "\\]", index)
            case "begin", _ if token.text.islower():
                return self._next_unless_again("\\end" + token.text[6:], index)
            case _:
                return None

    def _next(self, text: str, index: int) -> int | None:
        places = self.places[text]
        found = bisect_right(places, index)
        return places[found] if found < len(places) else None

    def _next_unless_again(self, text: str, index: int) -> int | None:
        found, again = self._next(text, index), self._next(self.tokens[index].text, index)
        return None if found is None or (again is not None and again < found) else found

    def is_formula(self, first: int, last: int) -> bool:
        """Tell whether every filter sees one formula from the first token to the last."""
        opener, closer = self.tokens[first], self.tokens[last]
        inner = self.prose.text[opener.end : closer.start]
        if not inner.strip() or len(inner) > MAX_FORMULA or self.foreign[first] != self.foreign[last]:
            return False
        return (
            self._stands_free(opener, closer, inner)
            and self._is_balanced(inner, self.tokens[first + 1 : last])
            and self._stays_in_place(opener, closer, inner)
        )

    def _stands_free(self, opener: _Token, closer: _Token, inner: str) -> bool:
        text = self.prose.text
        before, after = text[opener.start - 1 : opener.start], text[closer.end : closer.end + 1]
        if self.prose.in_address(opener.start) or before in ("\\", "$"):
            return False
        match opener.text:
            case "$":
                # As pandoc has it, so that prices are not formulas.
                tight = not inner[0].isspace() and not inner[-1].isspace()
                return tight and inner[-1] != "\\" and not after.isdigit()
            case "$$":
                return inner[-1] != "\\"
            case "\\(":
                return "$" not in inner and after != "$" and not inner.strip().endswith("\\")
            case "\\[":
                return "$" not in inner and after not in ("$", "(", "[", ":")
            case _:
                return "$$" not in inner

    def _is_balanced(self, inner: str, tokens: list[_Token]) -> bool:
        depth = 0
        for brace in _BRACE.findall(inner):
            depth = depth + 1 if brace == "{" else max(0, depth - 1)
        return depth == 0 and self._nests(tokens)

    def _nests(self, tokens: list[_Token]) -> bool:
        names: list[str] = []
        for token in tokens:
            match token.kind:
                case "begin":
                    names.append(token.text[6:])
                case "end" if not names or names.pop() != token.text[4:]:
                    return False
                case "twice" if self.prose.text.startswith(("begin", "end"), token.end):
                    return False
                case _:
                    pass
        return not names

    def _stays_in_place(self, opener: _Token, closer: _Token, inner: str) -> bool:
        """Tell whether no parser of blocks cuts the formula in two."""
        inline = opener.text in ("$", "\\(")
        if inline and "\\\\[" in inner.replace("\\\\(", "\\\\["):
            return False
        if "\n" not in inner:
            return True
        line = self.prose.line_at(opener.start)
        if line.place == "quote" or line.table:
            return False
        if line.unit == self.prose.line_at(closer.start).unit:
            return not (inline and _MARKED_LINE.search(inner))
        return not inline and line.place == "plain" and not _MARKER.match(line.text)

    def write(self, first: int, last: int) -> None:
        """Write a formula in dollars, or in its environment."""
        opener, closer = self.tokens[first], self.tokens[last]
        for token in self.tokens[first + 1 : last]:
            token.out = self._inner(token)
        opener.out, closer.out = opener.text, closer.text
        match opener.text:
            case "\\(":
                self._trim(first, last)
                opener.out = closer.out = "$"
            case "\\[":
                opener.out, closer.out = "$$", "$$"
                if self.prose.text[closer.start - 1] == "\\":
                    closer.out = " $$"
            case _:
                pass
        if opener.out != "$":
            opener.out = self._break_before(opener, closer) + opener.out

    def _break_before(self, opener: _Token, closer: _Token) -> str:
        """Return the line end that a display formula of several lines needs, or nbconvert cuts it in two."""
        prose, begin = self.prose, self.prose.line_number(opener.start)
        before = prose.text[prose.starts[begin] : opener.start]
        if begin == prose.line_number(closer.start) or _ONLY_MARKS.fullmatch(before):
            return ""
        below = prose.lines[begin + 1].text
        return "\n" + below[: len(below) - len(below.lstrip(" \t"))]

    def _trim(self, first: int, last: int) -> None:
        head, tail = self.tokens[first + 1], self.tokens[last - 1]
        head.out = (head.out or "").lstrip()
        tail.out = (tail.out or "").rstrip()

    def _inner(self, token: _Token) -> str:
        """Write a piece of a formula; entities mean nothing there, but spaces do no harm."""
        text = token.text
        match token.kind:
            case "less":
                return "<" if self.prose.text.startswith(" ", token.end) else "< "
            case "image" | "call" | "define":
                return text[:-1] + " " + text[-1]
            case "ticks":
                return "‘" * len(text)
            case "tildes":
                return "{}" + text
            case "escape":
                text = self._inner_escape(token)
            case _:
                pass
        if self.prose.may_be_table:
            text = text.replace("|", "\\vert ")
        # A sign or a number at the start of a line would begin a list there.
        return _MARKED_LINE.sub("\n{}", text)

    def _inner_escape(self, token: _Token) -> str:
        match token.text[1]:
            case "<":
                return "< "
            case "`":
                return "‘"
            case "!" if self.prose.text.startswith("[", token.end):
                return "\\! "
            case "|" if self.prose.may_be_table:
                return "|" if self.prose.line_at(token.start).table else "\\Vert "
            case _:
                return token.text


# --- links and images


def _mark_brackets(prose: _Prose) -> None:
    """Turn images into links, and keep only the links with a checked address."""
    tokens = prose.tokens
    stack: list[tuple[int, int]] = []
    links = 0
    for index, token in enumerate(tokens):
        if token.out is not None:
            continue
        match token.kind:
            case "open" | "image":
                stack.append((index, links))
            case "tail" | "call" | "close" | "define":
                opener, links_before = stack.pop() if stack else (None, links)
                if _close(prose, opener, index, nested=links > links_before):
                    links += 1
            case _:
                pass
    for token in tokens:
        if token.kind == "image" and token.out is None:
            token.out = "&#33;" * (len(token.text) - 1) + "["


def _close(prose: _Prose, first: int | None, last: int, *, nested: bool) -> bool:
    """Write a pair of brackets; tell whether it is a link now."""
    token = prose.tokens[last]
    address = _checked(token) if first is not None and token.kind == "tail" else None
    if token.kind in ("tail", "call") and address is None:
        token.out = "]&#40;" + _harmless(prose, token.text[2:])
    if first is None:
        return False
    opener = prose.tokens[first]
    if address is None:
        return opener.kind == "image" and _refer(prose, first, last)
    # A link with a link or an image in it, like a badge: a link cannot hold another one.
    token.out = f" ([link]({address}))" if nested else f"]({address})"
    if nested:
        opener.out = _shouts(opener)
    elif opener.kind == "image":
        opener.out = _shouts(opener) + _image_label(first, last)
    return True


def _checked(tail: _Token) -> str | None:
    """Return the address and title of ``](address "title")`` as they may stand, or None."""
    found = _TAIL.fullmatch(tail.text)
    address = found[1] if found else '"'
    if address.startswith("<"):
        address = address[1:-1].replace(" ", "%20")
    if not found or not _is_safe(address):
        return None
    address = address.replace("$", "%24").replace("@@", "%40%40")
    if address == found[1] and not re.search(r"[$\\@]", found[2] or ""):
        return tail.text[2:-1]
    return address


def _harmless(prose: _Prose, text: str) -> str:
    """Write what was in the parentheses of a link as text; the data of an image is cut short."""
    if text.lstrip(" <").startswith("data:") and len(text) > 60:
        text = text[:40] + "…)"
    text = text.replace("\\", "&#92;").replace("<", "&lt;").replace("@@", "@&#64;")
    return re.sub(r"\$+", lambda found: prose.literal_dollars(found[0]), text)


def _shouts(opener: _Token) -> str:
    """Write the exclamation marks before the one that makes an image."""
    return "&#33;" * (len(opener.text) - 2)


def _image_label(first: int, last: int) -> str:
    return "[image" if last == first + 1 else "[image: "


def _refer(prose: _Prose, first: int, last: int) -> bool:
    """Write an image whose address is defined elsewhere as a link to it."""
    tokens = prose.tokens
    own = prose.text[tokens[first].end : tokens[last].start]
    after = [token.kind for token in tokens[last + 1 : last + 4]]
    label = tokens[last + 2].text if after == ["open", "text", "close"] else own
    if tokens[last].kind != "close" or _label(label) not in prose.defined:
        return False
    tokens[first].out = _shouts(tokens[first]) + _image_label(first, last)
    if label is own:
        tokens[last].out = f"][{own}]"
        if after[:2] == ["open", "close"]:
            tokens[last + 1].out = tokens[last + 2].out = ""
    return True

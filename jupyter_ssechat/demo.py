"""A prompt → timed tokens: the built-in model, offline, deterministic, honest about being a demo."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from .demo_texts import WORDS, Topic, Words
from .errors import BadInput
from .specimen import specimen

TOKENS_PER_SECOND = 68.0
QUOTE_LENGTH = 72
MAX_COUNT = 500

# Ranges are spelt out, since `unicodedata` and `\w` change with the Python version and tokens must not.
_EXTEND = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u0900-\u0903\u093a-\u093c"
    "\u093e-\u094f\u0962\u0963\u0981-\u0983\u09bc\u09be-\u09cd\u0b82\u0bbe-\u0bcd\u0c00-\u0c04\u0c3e-\u0c4d\u0e31"
    "\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u1160-\u11ff\u1ab0-\u1aff\u1dc0-\u1dff\u200c"
    "\u20d0-\u20ff\u3099\u309a\ufe00-\ufe0f\ufe20-\ufe2f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\U000e0100-\U000e01ef"
)
_CLUSTER = rf"(?:[\U0001f1e6-\U0001f1ff]{{2}}|(?:\r\n|[\s\S])(?:[{_EXTEND}]|\u200d[^\s\x00-\x7f]?){{0,24}})"
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_PARTICLE = "的了是在和我不有也这你"
_PIECE = re.compile(
    r"(?:\n{1,2}| {2,4}|[ |:-]{2,6}|`{1,3}[a-z]{0,3}|[ ]?\*{1,2}"
    r"|[ (_.\\\"]?(?:[A-Za-z]{1,5}(?![A-Za-z])|[A-Za-z]{4})|[0-9]{1,3}"
    r"|[ ]?(?:[!-/:-@\[-^{-~]{1,3})"
    rf"|[ ]?(?:[{_PARTICLE}]|[{_HAN}](?:(?![{_PARTICLE}])[{_HAN}])?)"
    rf")(?![\u200d{_EXTEND}])|[ ]?{_CLUSTER}"
)
_CLUSTERS = re.compile(_CLUSTER)
# C0 and C1 controls, and marks that would reorder the text around a quotation.
_UNQUOTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")

Kind = Literal["thinking", "content"]


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the thinking or the answer; `delay` is the wait before it in seconds, at pace 1."""

    kind: Kind
    text: str
    delay: float


@dataclass(frozen=True, slots=True)
class _Ask:
    """What the model can know about a question."""

    prompt: str
    turn: int
    system: str | None
    topic: Topic
    chinese: bool


def script(
    prompt: str,
    *,
    thinking: bool = True,
    turn: int = 1,
    system: str | None = None,
    schema: Mapping[str, Any] | None = None,
) -> list[Token]:
    """Return the whole answer to a prompt: the thinking (unless it is off), then the content.

    With a JSON `schema` the content is JSON that fits it. The same arguments give the same tokens on every
    platform and Python.
    """
    ask = _read(prompt, turn, system)
    # Not `repr`: what it escapes depends on the Python version.
    seed = zlib.crc32(json.dumps([prompt, turn, system, thinking]).encode())
    texts: list[tuple[Kind, str]] = [("thinking", _thoughts(ask))] if thinking else []
    texts.append(("content", _answer(ask) if schema is None else _json(schema, seed)))
    return list(_timed(texts, random.Random(seed)))


async def stream(
    prompt: str,
    *,
    thinking: bool = True,
    turn: int = 1,
    system: str | None = None,
    schema: Mapping[str, Any] | None = None,
    pace: float = 1.0,
    skip: int = 0,
    skip_thinking: int = 0,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncGenerator[Token]:
    """Yield the tokens of `script` in their time; `pace` multiplies the waiting, 0 is at once.

    `skip` and `skip_thinking` count the characters that already stand when an answer is continued; what is
    yielded joins to them exactly. Once there is content the thinking is over. Raises BadInput for a pace
    that is negative or not finite.
    """
    if not (math.isfinite(pace) and pace >= 0):
        raise BadInput(f"pace is {pace}; expected 0 (at once) or more, 1 is the pace of a real model")
    tokens = script(prompt, thinking=thinking, turn=turn, system=system, schema=schema)
    for number, token in enumerate(_remaining(tokens, skip, skip_thinking)):
        if pace > 0:
            await sleep(token.delay * pace)
        elif number % 16 == 0:
            await sleep(0)  # a stop must get through
        yield token


def usage(prompt: str, answer: Iterable[Token], *, system: str | None = None) -> dict[str, int]:
    """Count tokens, in the shape of an OpenAI-compatible ``usage``."""
    prompt_tokens = count_tokens(prompt) + count_tokens(system or "")
    completion_tokens = sum(1 for _ in answer)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def count_tokens(text: str) -> int:
    """Count the pieces this model cuts a text into."""
    return sum(1 for _ in _PIECE.finditer(text))


def _remaining(tokens: list[Token], skip: int, skip_thinking: int) -> Iterator[Token]:
    left = {"thinking": skip_thinking, "content": skip}
    wait = tokens[0].delay
    for token in tokens:
        if token.kind == "thinking" and skip > 0:
            continue
        stands = min(left[token.kind], len(token.text))
        left[token.kind] -= stands
        if stands < len(token.text):
            yield replace(token, text=token.text[stands:], delay=wait or token.delay)
            wait = 0.0


def _timed(texts: list[tuple[Kind, str]], chance: random.Random) -> Iterator[Token]:
    delay = 0.3 + 0.3 * chance.random()
    for kind, text in texts:
        for piece in _PIECE.findall(text):
            yield Token(kind, piece, round(delay, 5))
            delay = (0.85 + 0.3 * chance.random()) / TOKENS_PER_SECOND
            if piece == "\n\n":
                delay += 0.03 + 0.05 * chance.random()


# --- reading the prompt

_GREETING = re.compile(
    r"(?:hello|hi|hey|good (?:morning|day|evening)|你好|您好|嗨|哈喽|大家好|早上好)\b.{0,20}", re.I | re.S
)
_COUNT = re.compile(r"\bcount\b.{0,30}?\bto ([0-9]{1,6})|数到\s*([0-9]{1,6})", re.I)
_TOPICS: tuple[tuple[Topic, re.Pattern[str]], ...] = (
    (
        "long",
        re.compile(
            r"\b(?:long|longer|essay)\b|(?<![成生增校部队年首船家班])长(?![城江沙大安春度方得相])", re.I
        ),
    ),
    (
        "math",
        re.compile(
            r"\b(?:maths?|mathematics|integrals?|integrate|derivatives?|calculus|equations?|theorem|proof)\b"
            r"|数学|积分|导数|方程|公式|定理|微分",
            re.I,
        ),
    ),
    ("table", re.compile(r"\b(?:tables?|compare|comparison|versus|vs)\b|表格|对比|比较|列表", re.I)),
    (
        "code",
        re.compile(
            r"\b(?:code|coding|python|sort|sorting|functions?|programs?|programming|scripts?|algorithms?)\b"
            r"|代码|编程|程序|排序|函数|算法|脚本",
            re.I,
        ),
    ),
)


def _read(prompt: str, turn: int, system: str | None) -> _Ask:
    whole = _whole(prompt)
    return _Ask(whole, turn, _whole(system) if system else None, _topic(whole), _is_chinese(whole))


def _is_chinese(prompt: str) -> bool:
    """Tell whether a prompt is mostly Chinese; an acronym weighs nothing, kana is Japanese."""
    if re.search("[\u3041-\u30ff]", prompt):
        return False
    return len(re.findall(f"[{_HAN}]", prompt)) > 2 * len(re.findall("[A-Za-z]*[a-z][A-Za-z]*", prompt))


def _topic(prompt: str) -> Topic:
    if _COUNT.search(prompt):
        return "count"
    if _GREETING.fullmatch(prompt.strip()) and not any(pattern.search(prompt) for _, pattern in _TOPICS):
        return "hello"
    for topic, pattern in _TOPICS:
        if pattern.search(prompt):
            return topic
    return "default"


def _whole(text: str) -> str:
    """Join surrogates that came in halves; lone ones become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _shortened(text: str) -> str:
    """Return one line of at most QUOTE_LENGTH visible characters, never cut inside one."""
    # The slice bounds the work for a huge prompt: a character has at most 50 code points here.
    line = " ".join(_UNQUOTABLE.sub(" ", text[: QUOTE_LENGTH * 64]).split())
    clusters = _CLUSTERS.findall(line)
    if len(clusters) <= QUOTE_LENGTH and len(text) <= QUOTE_LENGTH * 64:
        return line
    head = "".join(clusters[:QUOTE_LENGTH])
    spaced = head.rfind(" ", len(head) * 2 // 3)
    return (head[:spaced] if spaced > 0 else head) + "…"


def _quoted(text: str) -> str:
    """Return a text as inline code that no backtick inside it can end."""
    short = _shortened(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", short)), default=0) + 1)
    pad = " " if short.startswith("`") or short.endswith("`") else ""
    return fence + pad + short + pad + fence


# --- writing


def _thoughts(ask: _Ask) -> str:
    words = WORDS["zh" if ask.chinese else "en"]
    quote = _shortened(ask.prompt)
    said = words.thinking_empty if not quote else words.thinking_quote[0] + quote + words.thinking_quote[1]
    parts = [said, words.thinking_self]
    if ask.system:
        parts.append(words.thinking_system[0] + _shortened(ask.system) + words.thinking_system[1])
    parts.append(words.thinking_plan[ask.topic])
    return words.thinking_joint.join(parts)


def _answer(ask: _Ask) -> str:
    words = WORDS["zh" if ask.chinese else "en"]
    blocks = [_opening(ask, words), *_body(ask, words)]
    blocks.append(words.connect_briefly if ask.topic in ("hello", "count") else words.connect)
    return "\n\n".join(blocks) + "\n"


def _json(schema: Mapping[str, Any], seed: int) -> str:
    return json.dumps(specimen(schema, seed), indent=2, ensure_ascii=False)


def _opening(ask: _Ask, words: Words) -> str:
    parts = [words.self_brief if ask.topic == "hello" else words.self]
    if ask.turn > 1:
        parts.append(words.turn[0] + str(ask.turn) + words.turn[1])
    if ask.system:
        parts.append(words.system[0] + _quoted(ask.system) + words.system[1])
    said = words.joint.join(parts)
    return words.asked + _quoted(ask.prompt) + "\n\n" + said if _shortened(ask.prompt) else said


def _body(ask: _Ask, words: Words) -> list[str]:
    match ask.topic:
        case "count":
            return [_count(ask, words)]
        case "default":
            return [*words.default[:-1], _measures(ask, words), words.default[-1]]
        case topic:
            return [words.bodies[topic]]


def _count(ask: _Ask, words: Words) -> str:
    found = _COUNT.search(ask.prompt)
    wanted = int(found.group(1) or found.group(2)) if found else 10
    numbers = words.comma.join(str(number) for number in range(1, min(wanted, MAX_COUNT) + 1))
    rest = words.count_limit[0] + str(MAX_COUNT) + words.count_limit[1] if wanted > MAX_COUNT else ""
    return (numbers or "0") + words.stop + rest


def _measures(ask: _Ask, words: Words) -> str:
    """Tell what the sample code above it prints for this very prompt."""
    pieces = ask.prompt.split()
    length = f"{sum(map(len, pieces)) / len(pieces):.1f}" if pieces else "0.0"
    values = (
        str(len(ask.prompt)),
        str(len(pieces)),
        str(len(ask.prompt.encode())),
        "$\\bar\\ell = " + length + "$",
    )
    rows = [name + value + " |" for name, value in zip(words.measures, values, strict=True)]
    return words.measures_head + "\n".join(rows)

"""The patch protocol: every rule of protocols section 1, and what must hold for any stream."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_ssechat.errors import InvalidData
from jupyter_ssechat.patches import (
    PIECES,
    Document,
    Patch,
    PatchDecoder,
    PatchEncoder,
    Text,
    dumps,
    loads,
    mend,
    merge,
    snapshot_data,
)

FLAT = {"response": {"content": "", "thinking_content": None, "status": "WIP", "n": 3}}
FRAGMENTED = {"response": {"fragments": [], "status": "WIP"}}


def decoded(*frames: Any, decoder: PatchDecoder | None = None) -> list[tuple[str, str, Any]]:
    decoder = decoder or PatchDecoder()
    return [(p.path, p.op, p.value) for frame in frames for p in decoder.decode(frame)]


def document(*frames: Any) -> dict[str, Any]:
    """The document after these frames."""
    decoder, whole = PatchDecoder(), Document()
    for frame in frames:
        for patch in decoder.decode(frame):
            assert whole.apply(patch)
    return whole.snapshot()


def test_a_decoder_starts_with_set_at_the_root() -> None:
    assert decoded({"v": {"a": 1}}) == [("", "SET", {"a": 1})]


def test_path_and_operation_stick_each_on_its_own() -> None:
    frames = (
        {"v": FLAT},
        {"v": "a", "p": "response/thinking_content"},
        {"v": "b", "o": "APPEND"},
        {"v": "c"},
        {"v": "d", "p": "response/content"},
        {"v": 5, "p": "response/n", "o": "SET"},
        {"v": 6},
        {"v": "FINISHED", "p": "response/status"},
    )
    assert decoded(*frames)[1:] == [
        ("response/thinking_content", "SET", "a"),
        ("response/thinking_content", "APPEND", "b"),
        ("response/thinking_content", "APPEND", "c"),
        ("response/content", "APPEND", "d"),
        ("response/n", "SET", 5),
        ("response/n", "SET", 6),
        ("response/status", "SET", "FINISHED"),
    ]
    response = document(*frames)["response"]
    assert response == {"content": "d", "thinking_content": "abc", "status": "FINISHED", "n": 6}


@pytest.mark.parametrize("value", [False, None, 0, "", [], {}])
def test_an_empty_value_is_a_value(value: Any) -> None:
    assert decoded({"v": FLAT}, {"v": value, "p": "response/n"})[1:] == [("response/n", "SET", value)]


def test_set_at_the_root_merges_keys() -> None:
    assert document({"v": {"a": 1, "b": 1}}, {"v": {"b": 2, "c": 3}}) == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("a", "b", "ab"),
        (None, "b", "b"),
        ([1], [2, 3], [1, 2, 3]),
        (None, [1], [1]),
        ("a", None, "a"),
        ([1], None, [1]),
    ],
)
def test_append_joins_texts_and_lists(before: Any, value: Any, after: Any) -> None:
    for start in ({"x": before}, {} if before is None else {"x": before}):
        whole = Document(start)
        assert whole.apply(Patch("x", "APPEND", value))
        assert whole.get("x") == after


@pytest.mark.parametrize(
    ("before", "value"),
    [("a", [1]), ([1], "a"), (5, "a"), ({}, "a"), ("a", 5), ([1], {"a": 1}), (True, None)],
)
def test_append_of_another_kind_is_ignored_and_counted(before: Any, value: Any) -> None:
    whole = Document({"x": before})
    assert not whole.apply(Patch("x", "APPEND", value))
    assert whole.ignored == 1
    assert whole.snapshot() == {"x": before}


def test_a_batch_is_relative_and_sticky_only_inside() -> None:
    frames = (
        {"v": FLAT},
        {"v": "x", "p": "response/content", "o": "APPEND"},
        {
            "p": "response",
            "o": "BATCH",
            "v": [
                {"v": "a", "p": "content", "o": "APPEND"},
                {"v": "b"},
                {"v": 7, "p": "n", "o": "SET"},
                {"v": 8},
            ],
        },
    )
    assert decoded(*frames)[2:] == [
        ("response/content", "APPEND", "a"),
        ("response/content", "APPEND", "b"),
        ("response/n", "SET", 7),
        ("response/n", "SET", 8),
    ]


def test_batches_nest() -> None:
    inner = {
        "p": "b",
        "o": "BATCH",
        "v": [{"p": "c", "v": 1}, {"o": "BATCH", "v": [{"p": "d", "v": 2}], "p": ""}],
    }
    assert decoded(
        {"p": "a", "o": "BATCH", "v": [inner, {"v": [{"p": "e", "v": 3}]}, {"p": "f", "v": 4}]}
    ) == [
        ("a/b/c", "SET", 1),
        ("a/b/d", "SET", 2),
        ("a/b/e", "SET", 3),
        ("a/f", "SET", 4),
    ]


def test_a_bare_list_after_a_batch_is_another_batch_at_the_same_path() -> None:
    first = {"p": "response", "o": "BATCH", "v": [{"p": "n", "v": 1}]}
    assert decoded({"v": FLAT}, first, {"v": [{"p": "n", "v": 2}]})[1:] == [
        ("response/n", "SET", 1),
        ("response/n", "SET", 2),
    ]


def test_a_sticky_batch_without_a_list_is_a_set() -> None:
    frames = (
        {"v": FLAT},
        {"p": "response", "o": "BATCH", "v": [{"p": "n", "v": 1}]},
        {"p": "response/status", "v": "INCOMPLETE"},
    )
    assert decoded(*frames)[2:] == [("response/status", "SET", "INCOMPLETE")]


def test_a_mid_stream_snapshot_replaces_the_document_and_the_sticky_state() -> None:
    frames = (
        {"v": FLAT},
        {"v": "old", "p": "response/content", "o": "APPEND"},
        {"v": {"response": {"content": "new", "fragments": []}}},
        {"v": {"more": 1}},
    )
    assert decoded(*frames)[2:] == [("", "SET", frames[2]["v"]), ("", "SET", {"more": 1})]
    assert document(*frames) == {"response": {"content": "new", "fragments": []}, "more": 1}


@pytest.mark.parametrize("frame", [{"updated_at": 1.5}, {}, {"p": "x", "o": "SET"}, {"error": "e"}])
def test_data_without_a_value_never_touches_the_sticky_state(frame: Any) -> None:
    decoder = PatchDecoder()
    assert decoded(
        {"v": FLAT}, {"v": "a", "p": "response/content", "o": "APPEND"}, frame, {"v": "b"}, decoder=decoder
    )[1:] == [
        ("response/content", "APPEND", "a"),
        ("response/content", "APPEND", "b"),
    ]
    assert decoder.ignored == 0


@pytest.mark.parametrize(
    "frame",
    [
        {"v": 1, "o": "MOVE"},
        {"v": 1, "o": None},
        {"v": 1, "o": ["SET"]},
        {"v": 1, "p": 5, "o": "SET"},
        {"v": 1, "p": "response/fragments/2/content", "o": "SET"},
        {"v": "x", "p": "response/fragments/-2/content", "o": "APPEND"},
        {"v": "x", "p": "response/fragments/0000000001/content", "o": "APPEND"},
        {"v": "x", "p": "response/fragments/first", "o": "SET"},
        {"v": "x", "p": "response/status/deeper", "o": "SET"},
        {"v": "x", "p": "response/missing/0", "o": "SET"},
        {"v": "x", "p": "response/n", "o": "APPEND"},
        {"v": 5, "p": "response", "o": "BATCH"},
        {"v": "x", "p": "x" * 2000, "o": "SET"},
        {"v": "x", "p": "/".join("x" * 200), "o": "SET"},
        ["v"],
        "text",
        None,
    ],
)
def test_what_cannot_be_is_counted_and_leaves_the_sticky_state(frame: Any) -> None:
    start = {"response": {"fragments": [{"content": "a"}], "status": "WIP", "n": 1}}
    decoder, whole = PatchDecoder(), Document()
    for one in (
        {"v": start},
        {"v": "b", "p": "response/fragments/0/content", "o": "APPEND"},
        frame,
        {"v": "c"},
    ):
        for patch in decoder.decode(one):
            assert whole.apply(patch)
    assert decoder.ignored == 1
    assert whole.snapshot() == {"response": {"fragments": [{"content": "abc"}], "status": "WIP", "n": 1}}


@pytest.mark.parametrize(
    "path", ["l/1", "l/-2", "l/9999999999", "l/x", "t/x", "n/x", "new/0", "new/0/x", "l/1/x", ""]
)
def test_a_path_that_cannot_be_changes_nothing(path: str) -> None:
    whole = Document({"l": [1], "t": "text", "n": 5})
    assert not whole.apply(Patch(path, "SET", 5))
    assert whole.snapshot() == {"l": [1], "t": "text", "n": 5}
    assert whole.get(f"{path}/more", "none") == "none"


def test_missing_objects_are_created_and_numbers_can_be_keys_of_objects() -> None:
    whole = Document({"a": None})
    assert whole.apply(Patch("a/b/c", "APPEND", "x"))
    assert whole.apply(Patch("a/b/c", "APPEND", "y"))
    assert whole.apply(Patch("a/0", "SET", 1))
    assert whole.snapshot() == {"a": {"b": {"c": "xy"}, "0": 1}}


def test_a_negative_index_counts_from_the_end() -> None:
    whole = Document({"l": [{"t": "a"}]})
    whole.apply(Patch("l/-1/t", "APPEND", "b"))
    whole.apply(Patch("l", "APPEND", [{"t": "c"}]))
    whole.apply(Patch("l/-1/t", "APPEND", "d"))
    whole.apply(Patch("l/-2/t", "APPEND", "e"))
    assert whole.get("l") == [{"t": "abe"}, {"t": "cd"}]
    assert whole.get("l/-1/t") == "cd"


def test_both_fragment_generations_decode() -> None:
    opening = {"v": [{"id": 1, "type": "RESPONSE", "content": "你好"}], "p": "fragments", "o": "APPEND"}
    end = {
        "p": "response",
        "o": "BATCH",
        "v": [{"v": "FINISHED", "p": "status"}, {"v": 115, "p": "accumulated_token_usage"}],
    }
    for index in ("0", "-1"):
        response = document(
            {"v": FRAGMENTED},
            {"v": [opening], "p": "response", "o": "BATCH"},
            {"v": "！", "p": f"response/fragments/{index}/content", "o": "APPEND"},
            {"v": "吗"},
            end,
        )["response"]
        assert response == {
            "fragments": [{"id": 1, "type": "RESPONSE", "content": "你好！吗"}],
            "status": "FINISHED",
            "accumulated_token_usage": 115,
        }


def test_a_document_knows_what_it_has() -> None:
    whole = Document({"a": {"b": None, "c": [0]}})
    assert [whole.has(path) for path in ("a", "a/c", "a/c/0", "", "a/b", "a/x", "a/c/1", "a/c/0/d")] == [
        True
    ] * 4 + [False] * 4


def test_nobody_else_holds_a_part_of_the_document() -> None:
    value = {"response": {"fragments": [{"content": "a"}], "n": {"deep": [1]}}}
    whole = Document(value)
    appended = [{"content": "b"}]
    whole.apply(Patch("response/fragments", "APPEND", appended))
    snapshot, part = whole.snapshot(), whole.get("response/n")
    for mine in (value["response"], snapshot["response"]):
        mine["fragments"][0]["content"] = "changed"  # type: ignore[index]
    appended[0]["content"] = "changed"
    part["deep"].append(2)
    assert whole.snapshot() == {
        "response": {"fragments": [{"content": "a"}, {"content": "b"}], "n": {"deep": [1]}}
    }


def test_a_snapshot_does_not_follow_what_comes_after_it() -> None:
    whole = Document({"t": "a"})
    whole.apply(Patch("t", "APPEND", "b"))
    before = whole.snapshot()
    whole.apply(Patch("t", "APPEND", "c"))
    assert (before, whole.snapshot()) == ({"t": "ab"}, {"t": "abc"})


keys = st.sampled_from(["a", "b", "0", "1", "-1", "c"])
paths = st.lists(keys, max_size=4).map("/".join)
texts = st.text("xyé😀\u2028\ud83d\ude00", max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
patches = st.builds(Patch, paths, st.sampled_from(["SET", "APPEND"]), values)
objects = st.dictionaries(keys, values, max_size=4)


def applied(start: dict[str, Any], sequence: list[Patch]) -> dict[str, Any]:
    whole = Document(start)
    for patch in sequence:
        whole.apply(patch)
    return whole.snapshot()


def accepted(start: dict[str, Any], sequence: list[Patch]) -> list[Patch]:
    whole = Document(start)
    return [patch for patch in sequence if whole.apply(patch)]


@given(objects, st.lists(patches, max_size=12))
def test_merged_patches_leave_the_same_document(start: dict[str, Any], sequence: list[Patch]) -> None:
    merged = merge(sequence)
    assert len(merged) <= len(sequence)
    assert applied(start, merged) == applied(start, sequence)


def test_merging_joins_neighbouring_texts_and_keeps_the_last_set() -> None:
    sequence = [
        Patch("a", "APPEND", "x"),
        Patch("a", "APPEND", "y"),
        Patch("b", "APPEND", "z"),
        Patch("a", "APPEND", "w"),
    ]
    assert merge(sequence) == [Patch("a", "APPEND", "xy"), *sequence[2:]]
    assert merge([Patch("n", "SET", 1), Patch("n", "SET", 2)]) == [Patch("n", "SET", 2)]
    roots = [Patch("", "SET", {"a": 1}), Patch("", "SET", {"b": 2})]
    assert merge(roots) == roots
    assert merge(iter([])) == []


@given(objects, st.lists(patches, max_size=12))
def test_what_is_encoded_decodes_to_the_same_patches(start: dict[str, Any], sequence: list[Patch]) -> None:
    sequence = accepted({"response": {}, **start}, sequence)
    encoder, decoder = PatchEncoder(), PatchDecoder()
    decoder.decode({"v": {"response": {}, **start}})
    frames = [loads(dumps(encoder.encode(patch))) for patch in sequence]
    received = [patch for frame in frames for patch in decoder.decode(frame)]
    assert received == [Patch(p.path, p.op, loads(dumps(p.value))) for p in sequence]


@given(objects, st.lists(patches, max_size=12), st.integers(0, 12))
def test_a_late_reader_reaches_the_same_document(
    start: dict[str, Any], sequence: list[Patch], joins: int
) -> None:
    start = {"response": {}, **start}
    sequence = accepted(start, sequence)
    encoder, server = PatchEncoder(), Document(start)
    reader, seen = PatchDecoder(), Document()

    def receive(frame: Any) -> None:
        for patch in reader.decode(loads(dumps(frame))):
            assert seen.apply(patch)

    for number, patch in enumerate([*sequence, None]):
        if number == min(joins, len(sequence)):
            receive(snapshot_data(server))
            if (sync := encoder.sync()) is not None:
                receive(sync)
        if patch is not None:
            frame = encoder.encode(patch)
            server.apply(patch)
            if number >= joins:
                receive(frame)
    assert loads(dumps(seen.snapshot())) == loads(dumps(server.snapshot()))


def test_frames_are_bare_only_in_a_run_of_appends() -> None:
    encoder = PatchEncoder()
    assert encoder.sync() is None
    assert encoder.encode(Patch("t", "APPEND", "a")) == {"v": "a", "p": "t", "o": "APPEND"}
    assert encoder.encode(Patch("t", "APPEND", "b")) == {"v": "b"}
    assert encoder.sync() == {"v": "", "p": "t", "o": "APPEND"}
    assert encoder.encode(Patch("t", "SET", "c")) == {"v": "c", "p": "t", "o": "SET"}
    assert encoder.sync() is None
    assert encoder.encode(Patch("t", "SET", "d")) == {"v": "d", "p": "t", "o": "SET"}
    assert encoder.encode(Patch("u", "APPEND", [1])) == {"v": [1], "p": "u", "o": "APPEND"}
    assert encoder.sync() == {"v": [], "p": "u", "o": "APPEND"}


frames = st.fixed_dictionaries(
    {}, optional={"v": values, "p": paths, "o": st.sampled_from(["SET", "APPEND", "BATCH", "ADD"])}
)
nested = st.recursive(
    frames,
    lambda inner: st.fixed_dictionaries(
        {"v": st.lists(inner, max_size=3), "o": st.just("BATCH")}, optional={"p": paths}
    ),
)


@given(objects, st.lists(nested, max_size=10))
def test_any_frames_decode_to_patches_that_apply(start: dict[str, Any], stream: list[Any]) -> None:
    decoder, whole = PatchDecoder(), Document()
    for frame in ({"v": {"response": {}, **start}}, *stream):
        for patch in decoder.decode(frame):
            assert whole.apply(patch)
    json.dumps(whole.snapshot())


def test_endless_nesting_neither_crashes_nor_hangs() -> None:
    started = time.process_time()
    batch: Any = {"v": 1, "p": "x"}
    for _ in range(50_000):
        batch = {"v": [batch], "o": "BATCH", "p": "y" * 100}
    decoder = PatchDecoder()
    assert decoder.decode(batch) == []
    assert decoder.ignored == 1
    value: Any = 1
    for _ in range(50_000):
        value = [value]
    assert not Document().apply(Patch("x", "SET", value))
    assert PatchDecoder().decode({"v": {"response": value}}) == [Patch("", "SET", {"response": value})]
    decoder.decode({"v": {"response": {}}})
    assert decoder.decode({"v": value, "p": "response/x"}) == []
    with pytest.raises(InvalidData):
        loads("[" * 10**6)
    wide = {"p": "z" * 1000, "o": "BATCH", "v": [{"p": "w" * 100, "v": 1}] * 100_000}
    assert decoder.decode(wide) == []
    assert time.process_time() - started < 5


def test_appending_costs_the_delta() -> None:
    def nanoseconds(count: int) -> float:
        whole, patch = Document({"t": ""}), Patch("t", "APPEND", "字")
        started = time.process_time()
        for _ in range(count):
            whole.apply(patch)
        assert len(whole.get("t")) == count
        return (time.process_time() - started) / count

    assert min(nanoseconds(200_000) for _ in range(3)) < 4 * min(nanoseconds(2_000) for _ in range(20))


def test_a_repeated_snapshot_of_unchanged_text_joins_once() -> None:
    whole = Document({"t": "a"})
    whole.apply(Patch("t", "APPEND", "b"))
    assert whole.get("t") is whole.get("t")


@given(values)
def test_json_survives_the_wire_on_one_line(value: Any) -> None:
    text = dumps(value)
    assert text.encode()
    assert len(text.splitlines()) <= 1
    assert loads(text) == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "[Infinity]", "1e999", "9" * 5000, "{'a': 1}", "not json\nat all " * 40]
)
def test_what_is_not_json_is_said_in_one_short_line(text: str) -> None:
    with pytest.raises(InvalidData) as caught:
        loads(text)
    assert len(str(caught.value)) < 180
    assert "\n" not in str(caught.value)


def test_halves_of_a_character_are_joined_where_the_text_is_read() -> None:
    whole = Document({"t": ""})
    for half in ("a\ud83d", "\ude00b"):
        whole.apply(Patch("t", "APPEND", half))
    assert whole.get("t") == "a😀b"


@given(st.lists(texts, max_size=8))
def test_mending_piece_by_piece_is_mending_the_whole(parts: list[str]) -> None:
    clean, held = "", ""
    for part in parts:
        text, held = mend(held + part)
        text.encode()
        clean += text
    whole, last = mend("".join(parts))
    assert (clean, held) == (whole, last)
    assert "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace").startswith(clean)


def test_mending_holds_back_a_first_half() -> None:
    assert mend("a\ud83d") == ("a", "\ud83d")
    assert mend("\ud83d\ude00") == ("😀", "")
    assert mend("\ude00a") == ("\ufffda", "")
    assert mend("") == ("", "")


@pytest.mark.soak
@pytest.mark.parametrize(
    "property",
    [
        test_merged_patches_leave_the_same_document,
        test_what_is_encoded_decodes_to_the_same_patches,
        test_a_late_reader_reaches_the_same_document,
        test_any_frames_decode_to_patches_that_apply,
    ],
)
def test_it_holds_at_length(property: Callable[[], None]) -> None:
    settings(max_examples=10_000, deadline=None)(property)()


def test_a_text_of_many_pieces_takes_little_more_room_than_the_text() -> None:
    size, tracing = 0, tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        document = Document()
        for number in range(200_000):
            piece = f"{number:06} "
            size += len(piece)
            document.apply(Patch("response/content", "APPEND", piece))
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        if not tracing:
            tracemalloc.stop()
    assert held < 1.3 * size  # a piece alone takes ten times its text
    assert document.get("response/content") == "".join(f"{number:06} " for number in range(200_000))


@given(
    st.lists(st.sampled_from(["a", "bc", "\ud83d", "\ude42", ""]), max_size=40), st.sets(st.integers(0, 40))
)
def test_a_text_is_the_same_whenever_it_is_read(pieces: list[str], reads: set[int]) -> None:
    text, once = Text(), Text()
    for number, piece in enumerate(pieces):
        for _ in range(PIECES // 8):  # so that blocks are made
            text.append(piece)
            once.append(piece)
        if number in reads:
            text.join()
    assert mend(text.join()) == mend(once.join())

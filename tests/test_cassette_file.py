"""A cassette's file: what is whole is found, what is broken is told with its line, and what is added stands whole."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_ssechat.cassette import Ask, Chunk, Ended, header
from jupyter_ssechat.cassette_file import append, chunk_texts, contents, lines, put
from jupyter_ssechat.errors import BadInput

from .taping import cassette, episode

ROOT = Path(__file__).parent.parent
WORDS = ("Once ", "upon ", "a ", "time.")


def prompts(path: Path) -> list[str]:
    """What the whole episodes of a file were asked."""
    asks = [next(lines(path, place)) for place in contents(path)]
    return [ask.meaning["turns"][-1]["user"] for ask in asks if isinstance(ask, Ask)]


def broken(path: Path, number: int, line: bytes) -> Path:
    """The same file with another line in the place of this one, counted from 1."""
    raw = path.read_bytes().splitlines(keepends=True)
    raw[number - 1] = line
    path.write_bytes(b"".join(raw))
    return path


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three episodes, of eight lines each; the first begins in line 2."""
    return cassette(tmp_path / "three.jsonl", *(episode(name, *WORDS) for name in ("one", "two", "three")))


def test_the_episodes_of_a_file_are_found_in_their_order(three: Path) -> None:
    found = contents(three)
    assert prompts(three) == ["one", "two", "three"]
    assert [place.line for place in found] == [2, 10, 18]
    assert found.problems == [] and len(found) == 3


def test_an_episode_is_read_from_its_place_to_its_end(three: Path) -> None:
    [_, second, _] = contents(three)
    read = list(lines(three, second))
    assert isinstance(read[0], Ask) and isinstance(read[-1], Ended)
    assert sum(isinstance(line, Chunk) for line in read) == 5
    assert "".join(chunk_texts(three, second)).count("data: ") == 6


def test_a_file_larger_than_a_block_is_read_at_any_length_of_its_lines(tmp_path: Path) -> None:
    words = [chr(0x4E00 + n % 1000) * (n % 700) for n in range(600)]
    path = cassette(tmp_path / "long.jsonl", episode("long", *words), episode("after", *WORDS))
    [place, _] = contents(path)
    chunks = [line.data for line in lines(path, place) if isinstance(line, Chunk)]
    assert len(chunks) == 601
    assert b"".join(chunks).decode() == "".join(chunk_texts(path, place))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"[10,", "line 13: data is not JSON"),
        (b"\n[oops]\n", "line 14: data is not JSON"),
        (b'[10,"a"]\xff\n', "line 13: 'utf-8' codec"),
        (b'[-1,"a"]\n', "line 13: a time in milliseconds"),
        (b'{"what":1}\n', "line 13: a line that is no list and has none of"),
        (b'{"ask":{}}\n', "line 13: an episode has no end before this line"),
        (b'{"cassette":1}\n', "line 13: an episode has no end before this line"),
    ],
    ids=range(7),
)
def test_a_corrupt_line_is_told_and_the_other_episodes_are_whole(three: Path, line: bytes, said: str) -> None:
    broken(three, 13, line)
    [problem, *_] = contents(three).problems
    assert problem.startswith(f"three.jsonl, {said}")
    assert problem.endswith("the episode that begins in line 10 is passed over")
    assert prompts(three) == ["one", "three"]


def test_a_file_that_was_cut_anywhere_keeps_what_is_whole(three: Path, tmp_path: Path) -> None:
    whole = three.read_bytes()
    ends = [n + 1 for n, byte in enumerate(whole) if byte == 10]
    sealed = [ends[8], ends[16], ends[24]]
    for cut in range(len(header()), len(whole)):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(whole[:cut])
        found = contents(path)
        # An end whose newline is missing is an end.
        assert len(found) == sum(cut >= end - 1 for end in sealed), cut
        torn = cut not in (len(header()), len(header()) - 1) and not any(
            cut in (end, end - 1) for end in sealed
        )
        assert bool(found.problems) == torn, cut
        assert all("line " in problem for problem in found.problems)


def test_after_a_torn_episode_the_next_one_begins_on_a_line_of_its_own(three: Path) -> None:
    three.write_bytes(three.read_bytes()[:-30])
    append(three, episode("four", *WORDS))
    assert prompts(three) == ["one", "two", "four"]
    [problem] = contents(three).problems[:1]
    assert "the episode that begins in line 18 is passed over" in problem


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"data: {}\n\n", "line 1: data is not JSON"),
        (b'{"ask":{}}\n', 'expected {"cassette": 1} in its first line'),
        (b'{"cassette":99}\n', "version 99 is not known here; expected 1"),
        (b"\x00\xff", "line 1"),
    ],
    ids=range(5),
)
def test_what_is_no_cassette_is_bad_input(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=said):
        contents(path)


def test_a_file_that_is_not_there_or_a_folder_is_bad_input(tmp_path: Path) -> None:
    for path in (tmp_path / "not there", tmp_path):
        with pytest.raises(BadInput, match="cannot be read"):
            contents(path)


def test_a_file_that_is_another_one_by_now_is_not_read_as_the_old_one(three: Path) -> None:
    [_, _, third] = contents(three)
    cassette(three, episode("other", *WORDS))
    with pytest.raises(BadInput, match="has changed since it was opened"):
        list(lines(three, third))


def test_lines_that_were_ended_for_windows_are_read_too(three: Path) -> None:
    three.write_bytes(three.read_bytes().replace(b"\n", b"\r\n"))
    assert prompts(three) == ["one", "two", "three"] and contents(three).problems == []


def test_of_the_same_question_the_one_that_was_asked_first_comes_first(tmp_path: Path) -> None:
    late, early = (
        episode("same", word, at=f"2026-01-3{day}T00:00:00Z") for word, day in (("b", 1), ("a", 0))
    )
    [places] = contents(cassette(tmp_path / "x.jsonl", late, early)).places.values()
    assert [place.line for place in places] == [7, 2]


def test_a_new_file_takes_the_place_of_the_old_one_in_one_step(three: Path) -> None:
    three.chmod(0o640)
    put(three, episode("anew", *WORDS))
    assert prompts(three) == ["anew"]
    assert three.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in three.parent.iterdir()] == ["three.jsonl"]


def write_many(path: Path, name: str) -> None:
    """Be one of several processes that write."""
    for number in range(40):
        append(path, episode(f"{name} {number}", *WORDS * 200))


def test_processes_that_write_to_one_file_leave_every_episode_whole(tmp_path: Path) -> None:
    path = tmp_path / "shared.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(path, name)) for name in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    found = contents(path)
    assert found.problems == [] and len(found) == 120
    assert sorted(prompts(path)) == sorted(f"{name} {number}" for name in "abc" for number in range(40))
    assert path.read_bytes().count(header()) == 1


@pytest.mark.parametrize("line", [b'[1,"\xf9"]\n', b"\xff\n", b'{"by":"\xf9"}\n'])
@pytest.mark.parametrize("number", [4, 5, 9])
def test_a_line_that_is_no_utf_8_is_told_and_costs_its_episode_alone(
    three: Path, line: bytes, number: int
) -> None:
    [problem] = contents(broken(three, number, line)).problems
    assert problem.startswith(f"three.jsonl, line {number}: ") and "utf-8" in problem
    assert prompts(three) == ["two", "three"]


def test_a_file_that_an_editor_or_git_has_rewritten_is_the_same(three: Path) -> None:
    three.write_bytes(b"\xef\xbb\xbf" + three.read_bytes().replace(b"\n", b"\r\n"))
    assert contents(three).problems == [] and prompts(three) == ["one", "two", "three"]
    append(three, episode("four", *WORDS))
    [*_, last] = contents(three)
    assert "".join(chunk_texts(three, last)).count("data: ") == 6


FILL = """
import resource, sys
from pathlib import Path
from jupyter_ssechat.cassette_file import append
from tests.taping import episode
path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, resource.RLIM_INFINITY))
try:
    append(path, episode("large", "x" * 1000))
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of a file")
def test_where_there_is_no_room_nothing_is_left_of_an_episode(three: Path) -> None:
    before = three.read_bytes()
    ran = subprocess.run(
        [sys.executable, "-c", FILL, str(three)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ran.stdout == "File too large\n", ran.stderr
    assert three.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="links are for administrators there")
def test_a_link_to_a_cassette_stays_one_when_all_is_recorded_anew(three: Path) -> None:
    link = three.with_name("link.jsonl")
    link.symlink_to(three)
    put(link, episode("anew", *WORDS))
    assert link.is_symlink() and prompts(three) == ["anew"]

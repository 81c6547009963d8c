"""Prompts: what a cell says and points to, in a real IPython shell."""

from __future__ import annotations

import atexit
import linecache
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from jupyter_ssechat import Chat
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.gateway.server import close_embedded
from jupyter_ssechat.prompt import EXPLAIN, composed

from .kernels import Kernel


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell of its own, in which nothing has run or failed."""
    for name in ("last_exc", "last_value", "last_traceback", "last_type"):
        sys.__dict__.pop(name, None)
    for name in ("displayhook", "excepthook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    own = InteractiveShell()
    yield own
    atexit.unregister(own.atexit_operations)
    own.atexit_operations()
    linecache.clearcache()


def run(shell: InteractiveShell, *cells: str) -> None:
    for cell in cells:
        shell.run_cell(cell, store_history=True)


def with_variables(shell: InteractiveShell, body: str) -> str:
    return composed(body, shell, variables=True)


# ---- variables ----


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("def __str__(self): raise RuntimeError('no text')", "{{bad}}: no text; write \\{{"),
        ("def __getattr__(self, name): raise RuntimeError('no ' + name)", "{{bad}}: no shape; write \\{{"),
    ],
)
def test_a_value_that_cannot_be_text_is_one_line(shell: InteractiveShell, bad: str, said: str) -> None:
    run(shell, f"class Bad:\n    {bad}\nbad = Bad()")
    with pytest.raises(BadInput) as error:
        with_variables(shell, "{{bad}}")
    assert str(error.value).startswith(said)


def test_a_list_nested_too_deeply_is_one_line(shell: InteractiveShell) -> None:
    run(shell, "deep = []\nfor _ in range(100_000): deep = [deep]")
    with pytest.raises(BadInput, match="recursion"):
        with_variables(shell, "{{deep}}")


def test_a_pipe_is_no_file_to_wait_for(shell: InteractiveShell, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="is a pipe; expected a text file"):
        composed("x", shell, files=[str(tmp_path / "pipe")])


def test_without_being_asked_nothing_is_touched(shell: InteractiveShell) -> None:
    run(shell, "x = 3")
    body = "{{x}} {x} $x \\{{x}} %x"
    assert composed(body, shell) == body


def test_an_expression_is_filled_in_from_the_namespace(shell: InteractiveShell) -> None:
    run(shell, "x = 3\nclass City:\n    name = 'Ulm'\ncities = [City()]\ndef twice(n): return 2 * n")
    body = (
        "{{x}}, {{cities[0].name}}, {{twice(x) + 1}}, {{[n for n in range(x)]}}, {{x:05.1f}}, {{len('ab')}}"
    )
    assert with_variables(shell, body) == "3, Ulm, 7, [0, 1, 2], 003.0, 2"


def test_a_function_is_told_by_its_source(shell: InteractiveShell) -> None:
    run(shell, "def twice(n):\n    return 2 * n\n")
    assert with_variables(shell, "{{twice}}") == "def twice(n):\n    return 2 * n"


def test_a_reply_is_told_by_its_text(shell: InteractiveShell) -> None:
    shell.user_ns["reply"] = Chat(pace=0).ask("hello")
    assert with_variables(shell, "{{reply}}") == shell.user_ns["reply"].content
    close_embedded()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{{pricess}}", "there is no variable 'pricess'; did you mean prices?"),
        ("{{zzz}}", "there is no variable 'zzz'"),
        ("{{prices.appendd}}", "a list has no 'appendd'; did you mean append?"),
        ("{{prices[9]}}", "IndexError: list index out of range"),
        ("{{prices[0]:q}}", "Unknown format code 'q' for object of type 'int'"),
    ],
)
def test_what_cannot_be_filled_in_is_one_line(shell: InteractiveShell, body: str, said: str) -> None:
    run(shell, "prices = [1]")
    with pytest.raises(BadInput) as error:
        with_variables(shell, body)
    assert str(error.value) == f"{body}: {said}; write \\{{{{ for braces that are text"


# ---- files ----


def test_a_file_stands_before_the_prompt_in_a_fence_under_its_name(
    shell: InteractiveShell, tmp_path: Path
) -> None:
    code, data = tmp_path / "a.py", tmp_path / "notes"
    code.write_text("x = 1\n")
    data.write_text("é ```\n```\n{{x}}")
    assert composed("why?", shell, variables=True, files=[str(code), str(data)]) == (
        f"{code}:\n```py\nx = 1\n```\n\n{data}:\n````\né ```\n```\n{{{{x}}}}\n````\n\nwhy?"
    )


def test_a_long_file_is_cut_and_says_so(shell: InteractiveShell, tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text("é" * 75_000)
    text = composed("why?", shell, files=[str(file)])
    assert text.startswith(f"{file} (the first 100,000 of 150,000 bytes):\n```txt\n")
    assert text.count("é") == 50_000
    file.write_text("a" + "é" * 75_000)
    assert composed("why?", shell, files=[str(file)]).count("é") == 49_999


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0", b"caf\xe9 au lait", b"\xff" * 200_000])
def test_what_is_no_text_is_refused_in_one_line(shell: InteractiveShell, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(BadInput, match="is no text; expected UTF-8, and --image for a picture"):
        composed("x", shell, files=[str(file)])


def test_a_file_that_is_not_there_is_refused_in_one_line(shell: InteractiveShell, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--file no.txt cannot be read: No such file"):
        composed("x", shell, files=["no.txt"])
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        composed("x", shell, files=[str(tmp_path)])


# ---- cells ----


def test_a_cell_comes_with_its_source_and_all_that_the_kernel_keeps_of_its_output(
    shell: InteractiveShell,
) -> None:
    run(shell, "print('printed')\n6 * 7")
    assert composed("why?", shell, cells=[1]) == (
        "The cell In[1]:\n```python\nprint('printed')\n6 * 7\n```\nIts output:\n```\nprinted\n42\n```\n\nwhy?"
    )


def test_a_cell_that_failed_says_how(shell: InteractiveShell) -> None:
    run(shell, "x = 1", "1 / 0")
    assert "ZeroDivisionError: division by zero" in composed("why?", shell, cells=[2])


def test_where_nothing_is_kept_it_is_said(shell: InteractiveShell) -> None:
    run(shell, "x = 1")
    assert "Of its output the kernel keeps nothing." in composed("why?", shell, cells=[1])


@pytest.mark.parametrize("number", [0, -1, 9])
def test_a_cell_that_did_not_run_is_one_line(shell: InteractiveShell, number: int) -> None:
    run(shell, "x = 1", "x = 2")
    with pytest.raises(BadInput) as error:
        composed("why?", shell, cells=[number])
    assert str(error.value) == (
        f"--cell {number}: there is no In[{number}]; In[1] to In[2] ran in this session"
    )


# ---- the last exception ----


def test_the_last_exception_is_told_with_the_lines_of_its_cell(shell: InteractiveShell) -> None:
    run(shell, "def ratio(a, b):\n    return a / b", "ratio(1, 0)")
    text = composed("", shell, explain=True)
    assert text.startswith("The last exception:\n```\n")
    assert "cell In[2], line 1:\n-->    1 ratio(1, 0)" in text
    assert "cell In[1], line 2, in ratio:\n       1 def ratio(a, b):\n-->    2     return a / b" in text
    assert text.endswith(f"ZeroDivisionError: division by zero\n```\n\n{EXPLAIN}")


def test_a_question_of_ones_own_stands_in_place_of_the_usual_one(shell: InteractiveShell) -> None:
    run(shell, "1 / 0")
    assert composed("In one word?", shell, explain=True).endswith("```\n\nIn one word?")


def test_an_error_of_syntax_is_told_by_its_cell(shell: InteractiveShell) -> None:
    run(shell, "x = = 1")
    text = composed("", shell, explain=True)
    assert 'File "cell In[1]", line 1' in text and "SyntaxError" in text


def test_keys_of_the_environment_do_not_pass(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "tulip-garden-42")
    run(shell, "import os\nraise ValueError('bad key ' + os.environ['SOME_API_KEY'])")
    text = composed("", shell, explain=True)
    assert "tulip" not in text and "ValueError: bad key ***" in text


def test_without_an_exception_it_says_so(shell: InteractiveShell) -> None:
    with pytest.raises(BadInput, match="there is no exception to explain"):
        composed("", shell, explain=True)


def test_an_error_of_the_chat_itself_is_not_explained(shell: InteractiveShell) -> None:
    run(shell, "from jupyter_ssechat.errors import BadInput\nraise BadInput('x')")
    with pytest.raises(BadInput, match="one of the chat itself"):
        composed("", shell, explain=True)


# ---- in a kernel ----


def test_a_kernel_keeps_what_a_cell_printed_and_where_it_failed(
    kind: str, kernel: Callable[[str], Kernel]
) -> None:
    here = kernel(kind)
    here.run("print('printed')\n6 * 7")
    here.run("def ratio(a, b):\n    return a / b\nratio(1, 0)")
    here.run("from jupyter_ssechat.prompt import composed")
    shown = here.run("print(composed('why?', get_ipython(), cells=[1], explain=True))").text
    assert "Its output:\n```\nprinted\n42\n```" in shown
    assert "cell In[2], line 2, in ratio:" in shown and "ZeroDivisionError: division by zero" in shown

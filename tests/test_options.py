"""What stands after a magic, as options."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
from IPython.core.error import UsageError

from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.options import CONNECT, HELP, RECORD, asking, cell_options, parsed, token, use_options


def test_only_what_was_asked_for_is_asked() -> None:
    assert asking(cell_options("")) == {"options": {}}


def test_options_of_a_cell_are_keywords_of_a_question() -> None:
    options = cell_options("-m small -s 'be brief' --no-thinking -t 0 --max-tokens 9 --stop END --stop '. '")
    assert asking(options) == {
        "options": {},
        "model": "small",
        "system": "be brief",
        "thinking": False,
        "temperature": 0.0,
        "max_tokens": 9,
        "stop": ["END", ". "],
    }


def test_a_further_field_is_json_where_it_is_json() -> None:
    options = cell_options("""--option seed 7 --option user me --option logit_bias '{"1": -100}'""")
    assert asking(options)["options"] == {"seed": 7, "user": "me", "logit_bias": {"1": -100}}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-o 1x", "-o 1x: not a variable name"),
        ("-o class", "-o class: not a variable name"),
        ("-s 'no end", "the options cannot be read: No closing quotation"),
        ("--what", "%%chat: unrecognized arguments: --what; %chat help lists the options"),
        ("--json ''", "--json is empty; name something"),
        ("--file a --file ''", "--file is empty"),
        ("--record ''", "--record is empty"),
        ("--record a --replay b", "--record and --replay were both given"),
        ("--bg --record a", "use %chat record FILE"),
        ("--cell one", "argument --cell: invalid int value: 'one'"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(line: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        cell_options(line)
    assert said in str(error.value)


def test_a_pace_is_for_the_demo_alone() -> None:
    assert use_options("demo --pace 0").pace == 0
    with pytest.raises(UsageError, match="a model server keeps its own pace"):
        use_options("ollama --pace 2")


def test_a_cassette_records_new_episodes_unless_told_otherwise() -> None:
    assert vars(parsed(RECORD, "tape.jsonl")) == {"file": "tape.jsonl", "mode": "new_episodes"}
    assert parsed(RECORD, "tape.jsonl --mode all").mode == "all"
    with pytest.raises(UsageError, match="invalid choice: 'twice'"):
        parsed(RECORD, "tape.jsonl --mode twice")


def connecting(**given: str) -> Namespace:
    return Namespace(**{"token_file": None, "token_env": None, **given})


def test_a_token_comes_from_a_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("t0\n")
    monkeypatch.setenv("GATEWAY_TOKEN", " t1 ")
    assert token(parsed(CONNECT, f"http://127.0.0.1:1 --token-file {tmp_path}/token")) == "t0"
    assert token(connecting(token_env="GATEWAY_TOKEN")) == "t1"
    assert token(connecting()) is None


def test_a_token_that_is_not_there_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_TOKEN", raising=False)
    with pytest.raises(BadInput, match="the environment variable GATEWAY_TOKEN is empty or not set"):
        token(connecting(token_env="GATEWAY_TOKEN"))
    with pytest.raises(BadInput, match="the token file nowhere cannot be read: No such file or directory"):
        token(connecting(token_file="nowhere"))


def test_the_help_fits_a_notebook() -> None:
    assert max(map(len, HELP.splitlines())) <= 110

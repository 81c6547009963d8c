"""``--config FILE``: the command line's options in TOML, refused for what the command line would refuse."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from jupyter_ssechat.__main__ import main
from jupyter_ssechat.errors import BadInput
from jupyter_ssechat.serve_config import omit_defaults, settled
from jupyter_ssechat.serve_options import Secret, add_options


def options(*words: str) -> argparse.Namespace:
    """What a command line comes to, with its file."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    omit_defaults(parser)
    return settled(parser.parse_args(words), add_options)


def written(folder: Path, text: str, mode: int = 0o600) -> str:
    file = folder / "serve.toml"
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def refused(folder: Path, text: str, mode: int = 0o600) -> str:
    """Why a file is refused, after its name."""
    file = written(folder, text, mode)
    with pytest.raises(BadInput) as caught:
        options("--config", file)
    said = str(caught.value)
    assert "\n" not in said and said.startswith(file)
    return said.removeprefix(file).lstrip(": ")


def test_without_a_file_every_option_is_as_said_or_by_default() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    assert vars(options()) == vars(parser.parse_args([]))
    words = ["--port", "80", "--cors", "https://a.example", "--cors", "https://b.example", "--pace", "2"]
    assert vars(options(*words)) == vars(parser.parse_args(words))


def test_a_file_sets_options_by_their_long_names(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        port = 8765
        keep-alive = 5
        log_format = "json"
        profile = "ollama"
        pace = 0.5
        store = "sqlite:chats.db"
        allowed-host = ["box.example", "box.example:8443"]
        cors = ["https://page.example"]
        """,
    )
    args = options("--config", file)
    assert (args.port, args.keep_alive, args.log_format, args.pace) == (8765, 5.0, "json", 0.5)
    assert (args.profile, args.store) == ("ollama", "sqlite:chats.db")
    assert args.allowed_host == ["box.example", "box.example:8443"]
    assert (args.cors, args.lease) == (["https://page.example"], 10.0)


def test_the_command_line_wins_even_with_the_default(tmp_path: Path) -> None:
    file = written(tmp_path, 'port = 1\nlease = 3\nallowed-host = ["a.example"]\nstore = "sqlite:x"\n')
    args = options(
        "--store", "memory", "--lease", "10", "--config", file, "--allowed-host", "b.example", "c.example"
    )
    assert (args.port, args.lease, args.store) == (1, 10.0, "memory")
    assert args.allowed_host == ["b.example", "c.example"]


def test_an_option_that_stands_for_the_one_in_the_file_wins_too(tmp_path: Path) -> None:
    file = written(tmp_path, 'token-file = "a"\nprofile = "ollama"\n')
    args = options("--config", file, "--token-env", "NAME", "--upstream", "demo")
    assert (args.token_file, args.token_env, args.token) == (None, "NAME", None)
    assert (args.profile, args.upstream) == (None, "demo")


def test_options_that_are_added_to_the_parser_are_keys_of_the_file(tmp_path: Path) -> None:
    def more(parser: argparse.ArgumentParser) -> None:
        add_options(parser)
        parser.add_argument("--friends", type=Path)
        parser.add_argument("--most-streams", type=int, default=7)
        parser.add_argument("--strict", action="store_true")

    def said(text: str) -> argparse.Namespace:
        return settled(argparse.Namespace(config=written(tmp_path, text)), more)

    args = said('friends = "u.toml"\nmost-streams = 3\nstrict = true\n')
    assert (args.friends, args.most_streams, args.strict) == (Path("u.toml"), 3, True)
    assert said("strict = false").strict is False
    for text, expected in [
        ("strict = 1", "strict: expected true or false"),
        ("friends = 1", "friends: expected a text, in quotes"),
        ('most-streams = "3"', "most-streams: expected a number, without quotes"),
        ("most-streams = 1.5", "most-streams: invalid int value: '1.5'"),
    ]:
        with pytest.raises(BadInput, match=expected):
            said(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "'prot': not an option; expected one of allowed-host, api-key-env, "),
        ('config = "other.toml"', "'config': not an option"),
        ('own = "x"', "'own': not an option"),
        ("help = true", "'help': not an option"),
        ("[serve]\nport = 1", "'serve': not an option"),
        ('"a\\nb" = 1', r"'a\nb': not an option"),
        ("keep-alive = 1\nkeep_alive = 1", "keep_alive: it stands there twice"),
        ("port = 65536", "port: '65536' is not a port; expected 0 to 65535"),
        ('port = "80"', "port: expected a number, without quotes"),
        ("port = true", "port: expected a text in quotes, or a number"),
        ("port = [1]", "port: expected a text in quotes, or a number"),
        ("port = 2026-01-31", "port: expected a text in quotes, or a number"),
        ("port = {}", "port: expected a text in quotes, or a number"),
        ("model = 7", "model: expected a text, in quotes"),
        ('model = ""', "model: it is empty"),
        ("pace = -1", "pace: pace is -1; expected 0"),
        ("pace = nan", "pace: pace is nan"),
        ("keep-alive = inf", "keep-alive: 'inf' is not a time; expected seconds, more than 0"),
        ('cors = "https://page.example"', 'cors: expected a list, such as cors = ["…"]'),
        ('cors = ["*"]', "cors: '*' is not an origin"),
        ('cors = [["https://page.example"]]', "cors: expected a text in quotes, or a number"),
        ("allowed-host = [1]", "allowed-host: expected a text, in quotes"),
        ('allowed-host = ["http://name"]', "allowed-host: 'http://name' is not a host"),
        ('store = "postgres://x"', "store: 'postgres://x' is not a store; expected memory"),
        ('upstream = "nonsense"', "upstream: 'nonsense' is not an upstream"),
        ('profile = "nonsense"', "profile: 'nonsense' is not a profile; expected one of ollama, "),
        ('profile = "ollama"\nupstream = "demo"', "upstream: not allowed with profile"),
        ('token-env = "A"\ntoken-file = "b"', "token-file: not allowed with token-env"),
        ('dialect = "klingon"', "dialect: 'klingon' is not a dialect"),
        ('log-format = "xml"', "log-format: invalid choice: 'xml' (choose from"),
        ("token = 12345", "token: expected a text, in quotes"),
        ("port = ", "is no TOML: Invalid value"),
        ("a = " + "[" * 5000, "is no TOML: "),
        ("port = " + "1" * 5000, "is no TOML: "),
        ("#" * (2**20 + 1), "is larger than 1048576 bytes"),
    ],
    ids=lambda text: text[:30].replace("\n", " "),
)
def test_what_the_command_line_would_refuse_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    assert refused(tmp_path, text).startswith(said)


def test_a_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no.toml cannot be read: No such file"):
        options("--config", str(tmp_path / "no.toml"))
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        options("--config", str(tmp_path))
    file = tmp_path / "latin.toml"
    file.write_bytes(b'model = "\xe9"')
    with pytest.raises(BadInput, match="is no TOML: 'utf-8' codec"):
        options("--config", str(file))


@pytest.mark.parametrize(
    "line",
    [
        'token = "the-secret"',
        'store = "redis://:the-secret@host/0"',
        'store = "redis://host/0?password=the-secret"',
        'upstream = "http://user:the-secret@host/v1"',
    ],
    ids=["token", "store", "store-query", "upstream"],
)
def test_a_secret_stands_only_in_a_file_that_nobody_else_reads(tmp_path: Path, line: str) -> None:
    for mode in (0o644, 0o604):
        said = refused(tmp_path, line, mode)
        assert "others can read the file" in said and "chmod 600" in said and "the-secret" not in said
    args = options("--config", written(tmp_path, line, 0o600))
    values = [value for value in vars(args).values() if isinstance(value, Secret)]
    assert ["the-secret" in str(value) for value in values] == [True]
    assert "the-secret" not in repr(args)


def test_the_group_may_read_the_secrets_of_a_file_of_roots_alone(tmp_path: Path) -> None:
    file = written(tmp_path, 'token = "t"', 0o640)
    owner = Path(file).stat().st_uid
    if owner == 0:
        assert options("--config", file).token == "t"
    else:
        assert "others can read" in refused(tmp_path, 'token = "t"', 0o640)


def test_a_file_without_secrets_may_be_read_by_all(tmp_path: Path) -> None:
    assert options("--config", written(tmp_path, "port = 80", 0o644)).port == 80


def test_the_command_says_it_and_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--config", written(tmp_path, "prot = 1")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "serve.toml: 'prot': not an option" in err


def exits(*words: str) -> Any:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *words])
    return ended.value.code


def test_the_password_of_an_address_that_is_none_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--store", "radish://:the-secret@host"], ["--upstream", "htp://u:the-secret@host/v1"]):
        assert exits(*words) == 2
        said = capsys.readouterr().err
        assert "the-secret" not in said and "expected" in said


def test_an_unknown_profile_is_refused_with_those_that_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert exits("--profile", "olama") == 2
    assert "'olama' is not a profile; expected one of ollama, vllm, " in capsys.readouterr().err
    assert exits("--profile", "ollama", "--upstream", "demo") == 2
    assert "not allowed with argument --profile" in capsys.readouterr().err

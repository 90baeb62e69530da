"""``echoservers modes``: the table for people, the list for programs."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

import echoservers
from echoservers.cli import main
from support import EVERY_NAME, PATIENCE, ROOT, run_cli


def modes_where(preparation: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in an interpreter that *preparation* has changed."""
    program = f"{preparation}\nimport sys\nfrom echoservers.cli import main\nsys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


WITHOUT_FORK = "import os; del os.fork"
WITHOUT_UNIX_SOCKETS = "import socket; del socket.AF_UNIX"


def table(text: str) -> list[list[str]]:
    """The cells of a table whose columns begin where those of its first line do."""
    lines = text.splitlines()
    starts = [0, *(lines[0].index(f"  {word}") + 2 for word in ("SERVES", "GOOD", "HERE"))]
    ends = [*starts[1:], None]
    return [
        [line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines
    ]


def test_the_table_has_a_row_for_each_mode() -> None:
    done = run_cli("modes")
    assert done.returncode == 0
    assert done.stderr == b""
    head, *rows = table(done.stdout.decode())
    assert head == ["MODE", "SERVES A CLIENT", "GOOD FOR", "HERE"]
    assert rows == [
        [m.name, m.serves, m.good_for, "yes" if m.available else f"no: {m.reason}"]
        for m in echoservers.modes()
    ]
    assert all(all(row) for row in rows)


def test_the_table_says_why_a_mode_is_not_available() -> None:
    done = modes_where(WITHOUT_FORK, "modes")
    assert done.returncode == 0
    for row in table(done.stdout)[1:]:
        if "kqueue" not in row[0]:
            assert (row[3] == "no: this Python has no os.fork") == ("fork" in row[0])


def listed(text: str) -> dict[str, dict[str, Any]]:
    objects = json.loads(text)
    assert isinstance(objects, list)
    return {entry["name"]: entry for entry in objects}


def test_json_lists_an_object_for_each_mode() -> None:
    done = run_cli("modes", "--json")
    assert done.returncode == 0
    found = listed(done.stdout.decode())
    assert list(found) == EVERY_NAME
    for entry in found.values():
        assert list(entry) == ["name", "model", "transport", "aliases", "available", "reason"]
        assert entry["available"] is (entry["reason"] is None)
    assert found["threading-tcp"]["available"]
    assert found["threading-tcp"]["model"] == "threading"
    assert found["threading-tcp"]["transport"] == "tcp"
    assert found["threading-tcp"]["aliases"] == ["unp6", "echoservert"]
    assert found["unix-datagram"]["model"] == "iterative"
    assert found["unix-datagram"]["aliases"] == ["iterative-unix-datagram"]


def test_every_alias_is_taken_by_mode(capsys: pytest.CaptureFixture[str]) -> None:
    for mode in echoservers.modes():
        for alias in mode.aliases if mode.available else ():
            assert main(["--mode", alias, "--help"]) == 0
            assert f"options of {mode.name}:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("preparation", "missing", "reason"),
    [
        (WITHOUT_FORK, "fork", "this Python has no os.fork"),
        (WITHOUT_UNIX_SOCKETS, "unix", "this Python has no socket.AF_UNIX"),
    ],
)
def test_json_tells_what_is_not_available(preparation: str, missing: str, reason: str) -> None:
    found = listed(modes_where(preparation, "modes", "--json").stdout)
    assert list(found) == EVERY_NAME
    for name, entry in found.items():
        assert entry["available"] is (entry["reason"] is None)
        if "kqueue" not in name:
            assert (entry["reason"] == reason) is (missing in name)


@pytest.mark.parametrize(
    ("preparation", "mode", "reason"),
    [
        (WITHOUT_FORK, "forking-tcp", "this Python has no os.fork"),
        (WITHOUT_UNIX_SOCKETS, "unix-stream", "this Python has no socket.AF_UNIX"),
    ],
)
def test_serving_in_a_mode_that_is_not_available_is_refused(
    preparation: str, mode: str, reason: str
) -> None:
    done = modes_where(preparation, "--mode", mode)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"echoservers: error: {mode} is not available here: {reason}\n"


def test_no_mode_is_imported_to_be_listed() -> None:
    imported = "[name for name in sys.modules if 'models.' in name]"
    check = f"import atexit, sys\natexit.register(lambda: print({imported}))"
    assert modes_where(check, "modes").stdout.splitlines()[-1] == "[]"


def test_only_the_modes_of_some_models_and_transports_are_listed() -> None:
    found = echoservers.modes()
    for words, wanted in (
        (["tcp"], [m.name for m in found if m.transport == "tcp"]),
        (["threading"], [m.name for m in found if m.model == "threading"]),
        (["udp", "select", "epoll"], ["select-udp", "epoll-udp"]),
    ):
        assert list(listed(run_cli("modes", "--json", *words).stdout.decode())) == wanted


def test_what_is_neither_a_model_nor_a_transport_is_told() -> None:
    done = run_cli("modes", "forkin")
    assert done.returncode == 2
    assert done.stderr.startswith(
        b"echoservers: error: there is no model and no transport 'forkin'"
    )
    assert b"did you mean forking?" in done.stderr
    assert b"transports are " in done.stderr

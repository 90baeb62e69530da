"""Options: stated once, read alike from text and from values, refused with what is accepted."""

import contextlib
import math
import socketserver
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import echoservers
from echoservers import EchoHandler, EchoServersError, OptionError
from echoservers.options import (
    Option,
    choice,
    count,
    count_or_none,
    file_mode,
    options_of,
    read_options,
    seconds,
    seconds_or_none,
    size,
    size_or_none,
    spell_out,
)
from support import NAMES, free_address

EVERY_OPTION = {name for mode in NAMES for name in options_of(echoservers.server_class(mode))}


@pytest.mark.parametrize(
    ("read", "given_as", "value"),
    [
        (count, 1, 1),
        (count, "1", 1),
        (count, " 20 ", 20),
        (count, 2.0, 2),
        (count, 2**31 - 1, 2**31 - 1),
        (size, "65536", 65536),
        (count_or_none, None, None),
        (count_or_none, "none", None),
        (count_or_none, "None", None),
        (size_or_none, "NONE", None),
        (count_or_none, "7", 7),
        (seconds, 0, 0.0),
        (seconds, "0", 0.0),
        (seconds, "2.5", 2.5),
        (seconds, "1e3", 1000.0),
        (seconds_or_none, None, None),
        (seconds_or_none, "none", None),
        (seconds_or_none, "0.001", 0.001),
        (seconds_or_none, 1_000_000, 1_000_000.0),
        (choice("queue", "refuse"), "refuse", "refuse"),
        (file_mode, 0o600, 0o600),
        (file_mode, "600", 0o600),
        (file_mode, "0o660", 0o660),
        (file_mode, "0", 0),
        (file_mode, "777", 0o777),
    ],
)
def test_text_and_values_are_read_alike(read: Any, given_as: object, value: object) -> None:
    got = read(given_as)
    assert got == value
    assert type(got) is type(value)


NO_COUNTS: list[object] = [0, -1, "0", "-1", 1.5, "1.5", "", "x", "1 2", "nan", "inf", 2**31]
NO_COUNTS += [math.inf, -math.inf, math.nan, True, False, b"1", [], {}, object(), 1j]
NO_SECONDS: list[object] = [-1, "-0.5", "", "x", "5s", "nan", "inf", 1_000_001, math.inf]
NO_SECONDS += [math.nan, True, b"1", [], object()]
NO_MODES: list[object] = [-1, 0o1000, 600, "1000", "8", "-1", "", "rw", None, 384.0, True, b"6"]


@pytest.mark.parametrize(
    ("read", "bad", "accepted"),
    [
        (count, [*NO_COUNTS, None, "none"], r"a whole number from 1 to 2147483647$"),
        (count_or_none, NO_COUNTS, r"a whole number from 1 to 2147483647, or none$"),
        (seconds, [*NO_SECONDS, None, "none"], r"seconds from 0 to 1000000$"),
        (seconds_or_none, [*NO_SECONDS, 0], r"seconds from 0.001 to 1000000, or none$"),
        (choice("a", "b"), ["", "A", "c", None, 1, b"a"], r"a or b$"),
        (file_mode, NO_MODES, r"permission bits in octal, 0 to 777$"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_accepted(
    read: Any, bad: list[object], accepted: str
) -> None:
    for value in bad:
        with pytest.raises(ValueError, match=f"^expected {accepted}"):
            read(value)


@example(10**400)
@example("9" * 5000)
@given(st.text() | st.floats() | st.integers() | st.binary() | st.none() | st.booleans())
def test_whatever_is_given_is_read_or_refused_as_a_bad_value(given_as: object) -> None:
    for read in (count, count_or_none, seconds, seconds_or_none, choice("a"), file_mode):
        with contextlib.suppress(ValueError):
            read(given_as)


@pytest.mark.parametrize("mode", NAMES)
def test_an_option_says_its_unit_and_meaning_and_has_a_valid_default(mode: str) -> None:
    cls = echoservers.server_class(mode)
    for name, option in options_of(cls).items():
        assert option.unit
        assert len(option.meaning) > 10
        default = getattr(cls, name)
        assert option.read(default) == default
        as_text = f"{default:o}" if option.unit == "octal" else str(default)
        assert option.read(as_text) == default


@pytest.mark.parametrize("mode", NAMES)
@pytest.mark.parametrize("extreme", ["least", "most"])
def test_a_server_takes_every_option_at_its_ends(mode: str, extreme: str, folder: Path) -> None:
    ends = {"least": (1, 0.001), "most": (2**31 - 1, 1_000_000)}[extreme]
    options: dict[str, Any] = {}
    for name, option in options_of(echoservers.server_class(mode)).items():
        options[name] = {
            "seconds": ends[1],
            "octal": 0o600,
            "queue|refuse": "refuse",
            "shared|flock|mutex|handoff|reuseport": "shared",
            "workers": min(ends[0], 1000),
        }.get(option.unit, ends[0])
    with echoservers.create_server(mode, free_address(mode, folder), **options) as server:
        assert {name: getattr(server, name) for name in options} == options


def test_the_longest_drain_is_not_too_long_for_the_system() -> None:
    with echoservers.start_server("tcp", ("127.0.0.1", 0), drain_timeout=1_000_000) as server:
        assert server.drain() == (0, 0)


# --- where options stand ----------------------------------------------------------------


class Strict(echoservers.ThreadingTCPServer):
    idle_timeout = 7.0  # as under socketserver
    strictness: Annotated[int, Option(count, "degrees", "how strict to be")] = 3


def test_a_subclass_changes_defaults_and_adds_options() -> None:
    assert set(options_of(Strict)) == {*options_of(echoservers.ThreadingTCPServer), "strictness"}
    with Strict(("127.0.0.1", 0), EchoHandler) as server:
        assert (server.idle_timeout, server.strictness) == (7.0, 3)
    with Strict(("127.0.0.1", 0), EchoHandler, idle_timeout=None, strictness="4") as server:
        assert (server.idle_timeout, server.strictness) == (None, 4)
    assert (Strict.idle_timeout, Strict.strictness) == (7.0, 3)
    assert echoservers.ThreadingTCPServer.idle_timeout == 300.0


def test_options_are_read_for_the_instance_and_never_change_the_class() -> None:
    before = echoservers.TCPServer.max_connections
    with echoservers.TCPServer(("127.0.0.1", 0), EchoHandler, max_connections="5") as server:
        assert server.max_connections == 5
        assert echoservers.TCPServer.max_connections == before


def test_a_server_written_for_socketserver_is_made_as_ever() -> None:
    with echoservers.TCPServer(("127.0.0.1", 0), EchoHandler, bind_and_activate=False) as server:
        assert isinstance(server, socketserver.TCPServer)
        assert server.server_address == ("127.0.0.1", 0)
    with echoservers.UDPServer(("127.0.0.1", 0), EchoHandler, False) as server:
        assert server.server_address == ("127.0.0.1", 0)


@pytest.mark.parametrize("mode", NAMES)
def test_every_mode_lists_its_options_for_one_that_it_does_not_have(
    mode: str, folder: Path
) -> None:
    cls = echoservers.server_class(mode)
    with pytest.raises(OptionError, match=f"^{mode} has no option 'sped_up'") as caught:
        echoservers.create_server(mode, free_address(mode, folder), sped_up=True)
    assert f"it has: {spell_out(cls)}" in str(caught.value)
    assert "idle_timeout" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", NAMES)
def test_options_of_another_mode_are_refused(mode: str, folder: Path) -> None:
    for name in EVERY_OPTION - set(options_of(echoservers.server_class(mode))):
        with pytest.raises(OptionError, match=f"no option '{name}'"):
            echoservers.create_server(mode, free_address(mode, folder), **{name: 1})


@pytest.mark.parametrize(
    ("written", "meant"),
    [("idle_timout", "idle_timeout"), ("max_connection", "max_connections"), ("overfow", "overf")],
)
def test_a_misspelt_option_brings_a_hint(written: str, meant: str) -> None:
    with pytest.raises(OptionError, match=rf"\(did you mean {meant}"):
        read_options(echoservers.TCPServer, {written: "1"})


def test_a_bad_value_is_told_with_its_option_and_as_an_error_of_ours() -> None:
    with pytest.raises(OptionError, match=r"^idle_timeout='soon': expected seconds") as caught:
        read_options(echoservers.TCPServer, {"idle_timeout": "soon"})
    assert isinstance(caught.value, EchoServersError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.__suppress_context__


def test_the_owner_is_named_by_its_class_where_there_is_no_mode() -> None:
    with pytest.raises(OptionError, match=r"^TCPServer has no option 'x'"):
        echoservers.TCPServer(("127.0.0.1", 0), EchoHandler, x=1)


def test_a_refused_option_leaves_no_file_behind(folder: Path) -> None:
    path = folder / "server.sock"
    for bad in ({"nothing": 1}, {"max_connections": 0}, {"socket_mode": "9"}):
        with pytest.raises(OptionError):
            echoservers.UnixStreamServer(str(path), EchoHandler, **bad)
    assert list(folder.iterdir()) == []

"""Names to classes: every mode, alias and spec; what is registered; what is refused."""

import os
import re
import socket
import socketserver
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import echoservers
from echoservers import (
    EchoHandler,
    HandlerNotSupported,
    ModeNotAvailable,
    OptionError,
    ServingMixIn,
    UnknownMode,
    registry,
)
from echoservers.handlers import HANDLERS
from echoservers.registry import find_handler, find_mode, parse_mode_spec
from support import (
    AVAILABLE,
    NAMES,
    echo_once,
    free_address,
    serving,
)

PACKAGE = Path(echoservers.__file__).parent

TRANSPORTS = ("tcp", "udp", "unix-stream", "unix-datagram", "tls", "raw")
ALIASES = {
    "unp0": "tcp",
    "echoserveri": "tcp",
    "unp6": "threading-tcp",
    "echoservert": "threading-tcp",
    "unp1": "forking-tcp",
    "echoserverp": "forking-tcp",
    "echoservers": "select-tcp",
    "unp8": "thread-pool-tcp",
    "echoservert-pre": "thread-pool-tcp",
    "unp7": "prethreading-tcp",
    **dict.fromkeys(("unp2", "unp3", "unp4", "unp5"), "prefork-tcp"),
    **{f"iterative-{transport}": transport for transport in TRANSPORTS},
    **{f"prefork-iterative-{t}": f"prefork-{t}" for t in TRANSPORTS},
}


@pytest.fixture
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten behind it."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_classes", {})


# --- the modes that there are -----------------------------------------------------------


def test_every_model_runs_over_every_transport() -> None:
    found = {mode.name: mode for mode in echoservers.modes()}
    models = dict.fromkeys(mode.model for mode in found.values())
    prefixes = ["" if model == "iterative" else f"{model}-" for model in models]
    assert list(found) == [f"{prefix}{t}" for prefix in prefixes for t in TRANSPORTS]
    for name in NAMES:
        mode = found[name]
        assert name.endswith(mode.transport)
        assert name == mode.transport or name == f"{mode.model}-{mode.transport}"
        if mode.transport != "raw":  # that takes a privilege
            assert (mode.available, mode.reason) == (True, None)
        assert mode.serves
        assert mode.good_for


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_stands_for_its_mode(alias: str, name: str) -> None:
    assert find_mode(alias).name == name
    assert alias in find_mode(name).aliases
    if find_mode(name).available:
        assert echoservers.server_class(alias) is echoservers.server_class(name)


def test_no_name_stands_for_two_modes() -> None:
    names = [n for mode in echoservers.modes() for n in (mode.name, *mode.aliases)]
    assert sorted(names) == sorted(set(names))
    assert {n for mode in echoservers.modes() for n in mode.aliases} == set(ALIASES)


@pytest.mark.parametrize("name", NAMES)
def test_a_mode_is_one_class_by_the_composed_name(name: str) -> None:
    cls = echoservers.server_class(name)
    mode = find_mode(name)
    assert cls is echoservers.server_class(name)
    words = [*mode.model.replace("iterative", "").split("-"), *mode.transport.split("-")]
    composed = "".join(w.upper() if w in ("tcp", "udp") else w.title() for w in words) + "Server"
    assert cls.__name__ == composed
    assert cls is getattr(echoservers, composed)


@pytest.mark.parametrize("name", NAMES)
def test_a_server_knows_its_mode_and_handler(name: str, folder: Path) -> None:
    with echoservers.create_server(name, free_address(name, folder)) as server:
        assert type(server) is echoservers.server_class(name)
        assert server.mode == name
        assert server.RequestHandlerClass is EchoHandler


def test_a_server_asked_for_by_an_alias_has_the_name_of_its_mode() -> None:
    with echoservers.create_server("unp6", ("127.0.0.1", 0)) as server:
        assert server.mode == "threading-tcp"


# --- names that there are not -----------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("treading-tcp", "threading-tcp"),
        ("threading", "threading-tcp"),
        ("forking_udp", "forking-udp"),
        ("iterative", "iterative-tcp"),
        ("unp", "unp6"),
        ("echoserver", "echoservert"),
        ("TCP", "tcp"),
        ("Unix-Stream", "unix-stream"),
    ],
)
def test_a_near_name_is_hinted_at(written: str, meant: str) -> None:
    with pytest.raises(UnknownMode) as caught:
        echoservers.server_class(written)
    message = str(caught.value)
    assert f"no mode {written!r}" in message
    assert re.search(rf"did you mean .*\b{meant}\b.*\?", message)


@pytest.mark.parametrize("written", ["", "zzzzzzzz", "\n\x1b", "x" * 10_000, "os:system"])
def test_a_name_like_no_other_brings_the_list(written: str) -> None:
    with pytest.raises(UnknownMode, match=r"\[prefork-\]MODEL-TRANSPORT.* unix-stream") as caught:
        echoservers.create_server(written)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("fresh_registry")
def test_a_mode_that_this_system_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    for mode in echoservers.modes():
        assert mode.available == (mode.name in AVAILABLE and "fork" not in mode.model), mode
        assert (mode.reason is None) == mode.available
    with pytest.raises(ModeNotAvailable, match=r"forking-tcp is not available.*no os\.fork"):
        echoservers.create_server("forking-tcp", ("127.0.0.1", 0))
    monkeypatch.delattr(socket, "AF_UNIX")
    left = {mode.name for mode in echoservers.modes() if mode.available}
    assert {"tcp", "udp", "threading-tcp", "threading-udp"} <= left
    assert not [name for name in left if "unix" in name]


@pytest.mark.parametrize("package", ["uvloop", "gevent"])
def test_a_mode_whose_package_is_missing_says_how_to_get_it(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    advice = f"pip install echoservers[{package}]"
    for mode in echoservers.modes():
        assert mode.available == (mode.name in AVAILABLE and package not in mode.model), mode
        assert (advice in (mode.reason or "")) == (package in mode.model), mode
    with pytest.raises(ModeNotAvailable, match=rf"{package}-tcp is not .*{re.escape(advice)}"):
        echoservers.create_server(f"{package}-tcp", ("127.0.0.1", 0))


# --- mode specs -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "name", "options"),
    [
        ("tcp", "tcp", {}),
        ("tcp:", "tcp", {}),
        ("unp6:idle_timeout=5", "threading-tcp", {"idle_timeout": "5"}),
        (
            "threading-tcp:idle-timeout=5,overflow=refuse",
            "threading-tcp",
            {"idle_timeout": "5", "overflow": "refuse"},
        ),
        ("udp: max_message_size = 10 ,", "udp", {"max_message_size": "10"}),
        ("tcp:idle_timeout=none", "tcp", {"idle_timeout": "none"}),
        ("unp4:workers=3", "prefork-tcp", {"accept": "mutex", "workers": "3"}),
        ("tcp:a=b=c:d", "tcp", {"a": "b=c:d"}),
    ],
)
def test_a_spec_is_a_mode_and_options(spec: str, name: str, options: dict[str, str]) -> None:
    mode, found = parse_mode_spec(spec)
    assert (mode.name, found) == (name, options)


@pytest.mark.parametrize("spec", ["tcp:idle_timeout", "tcp:=5", "tcp:idle_timeout=5,x", "tcp:5"])
def test_what_is_no_list_of_options_is_refused(spec: str) -> None:
    with pytest.raises(OptionError, match="expected OPTION=VALUE"):
        echoservers.create_server(spec, ("127.0.0.1", 0))


@pytest.mark.parametrize("spec", ["tcp:idle_timeout=soon", "tcp:max_children=5", "tcp:a=b"])
def test_options_of_a_spec_are_checked(spec: str) -> None:
    with pytest.raises(OptionError):
        echoservers.create_server(spec, ("127.0.0.1", 0))


def test_a_keyword_goes_before_the_spec() -> None:
    spec = "threading-tcp:idle_timeout=5,max_connections=7"
    with echoservers.create_server(spec, ("127.0.0.1", 0), idle_timeout=None) as server:
        assert (server.idle_timeout, server.max_connections) == (None, 7)


# --- handlers by name -------------------------------------------------------------------


@pytest.mark.parametrize("name", HANDLERS)
def test_a_ready_made_handler_has_a_name(name: str) -> None:
    assert find_handler(name) is HANDLERS[name]
    with echoservers.create_server("tcp", ("127.0.0.1", 0), name) as server:
        assert server.RequestHandlerClass is HANDLERS[name]


def test_a_handler_is_taken_from_a_module_or_as_it_is() -> None:
    assert find_handler("echoservers.handlers:UpperHandler") is echoservers.UpperHandler
    assert find_handler(EchoHandler) is EchoHandler
    assert find_handler(socketserver.StreamRequestHandler) is socketserver.StreamRequestHandler


@pytest.mark.parametrize(
    ("handler", "what"),
    [
        ("shout", "no handler 'shout'; known are echo, timestamp, upper, discard, or MODULE:CLASS"),
        ("", "no handler ''"),
        ("no_such_module:X", "no_such_module:X cannot be loaded: ModuleNotFoundError"),
        ("echoservers.handlers:X", "cannot be loaded: AttributeError: .*'X'"),
        (":X", "cannot be loaded"),
        ("echoservers.handlers:", "cannot be loaded"),
        (".handlers:X", "cannot be loaded"),
        ("json:dumps", "is no handler; expected a subclass of echoservers.EchoHandler"),
        ("json:JSONDecoder", "is no handler"),
        (EchoHandler.respond, "is no handler"),
        (None.__class__, "is no handler"),
        (7, "is no handler"),
    ],
)
def test_what_is_no_handler_is_refused(handler: Any, what: str) -> None:
    with pytest.raises(HandlerNotSupported, match=what):
        echoservers.create_server("tcp", ("127.0.0.1", 0), handler)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("class H(", r"SyntaxError: .*broken_handler\.py"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import no_such_module", "ModuleNotFoundError: .*no_such_module"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_its_error(
    source: str, what: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "broken_handler.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with pytest.raises(HandlerNotSupported, match=f"broken_handler:H cannot be loaded: {what}"):
        find_handler("broken_handler:H")


# --- servers by name --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tcp", "udp"])
def test_without_an_address_it_is_loopback_and_the_default_port(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "DEFAULT_PORT", 0)  # here: any that is free
    with echoservers.create_server(name) as server:
        assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("name", ["unix-stream", "unix-datagram"])
def test_without_an_address_it_is_a_path_in_the_users_own_folder(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    with echoservers.create_server(name) as server:
        assert server.server_address == str(folder / f"echoservers-{name}.sock")
        assert [path.name for path in folder.iterdir()] == [f"echoservers-{name}.sock"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
@pytest.mark.parametrize("name", ["unix-stream", "unix-datagram"])
def test_a_path_may_be_text_bytes_or_a_path(name: str, kind: Any, folder: Path) -> None:
    with echoservers.create_server(name, kind(folder / "e.sock")) as server:
        assert server.endpoint().endswith(f"://{folder}/e.sock")
        assert [path.name for path in folder.iterdir()] == ["e.sock"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_started_server_serves_until_its_block_ends(name: str, folder: Path) -> None:
    with serving(name, folder) as server:
        echo_once(server)
        address, family, kind = server.server_address, server.address_family, server.socket_type
    if kind == socket.SOCK_STREAM or family == socket.AF_UNIX:
        with socket.socket(family, kind) as client, pytest.raises(OSError, match=r"refused|such"):
            client.connect(address)
    else:
        with socket.socket(family, kind) as again:
            again.bind(address)


def test_an_error_in_the_block_comes_out_and_ends_the_server() -> None:
    with (
        pytest.raises(ZeroDivisionError),
        echoservers.start_server("tcp", ("127.0.0.1", 0)) as server,
    ):
        raise ZeroDivisionError
    assert server.fileno() == -1


def test_a_block_that_ends_before_the_thread_has_begun_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = threading.Event()
    serve_forever, server_close = ServingMixIn.serve_forever, ServingMixIn.server_close

    def late(self: ServingMixIn, poll_interval: float = 0.5) -> None:
        closed.wait(20)
        serve_forever(self, poll_interval)

    def close(self: ServingMixIn) -> None:
        server_close(self)
        closed.set()

    monkeypatch.setattr(ServingMixIn, "serve_forever", late)
    monkeypatch.setattr(ServingMixIn, "server_close", close)
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    with echoservers.start_server("tcp", ("127.0.0.1", 0)):
        pass
    assert failures == []


def test_a_thread_that_cannot_be_started_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with (
        pytest.raises(RuntimeError, match="can't start"),
        echoservers.start_server("tcp", ("127.0.0.1", 0)),
    ):
        raise AssertionError("the block must not run")


@pytest.mark.parametrize("name", [name for name in NAMES if "unix" in name])
def test_a_handler_that_is_refused_leaves_no_file_behind(name: str, folder: Path) -> None:
    with pytest.raises(HandlerNotSupported):
        echoservers.create_server(name, free_address(name, folder), NoHandler)
    assert list(folder.iterdir()) == []


class NoHandler(EchoHandler):  # for any mode
    async def greet(self) -> bytes:  # type: ignore[override]
        return b"hi"

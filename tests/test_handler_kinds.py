"""Handlers that await or do their own I/O: who runs them, and how the others refuse."""

import socketserver
from pathlib import Path
from typing import Any

import pytest

import echoservers
from chosen_modes import AVAILABLE_MODES
from echoservers import (
    EchoHandler,
    HandlerNotSupported,
    LineFraming,
)
from echoservers.registry import find_mode
from plain import exchange
from support import (
    ASYNC_NAMES,
    AVAILABLE,
    HANDLE_NAMES,
    NAMES,
    STREAM_NAMES,
    UDP_NAMES,
    free_address,
    serving,
    wait_until,
)


class AsyncRespond(EchoHandler):
    async def respond(self, message: bytes) -> bytes:  # type: ignore[override]
        return message


class AsyncGreet(EchoHandler):
    async def greet(self) -> bytes:  # type: ignore[override]
        return b"hi"


class Inherited(AsyncRespond):
    framing_class = LineFraming


class Chooses(EchoHandler):
    def setup(self) -> None:
        super().setup()
        self.respond = self.shout  # type: ignore[method-assign]

    def shout(self, message: bytes) -> bytes:
        return message.upper()


@pytest.mark.parametrize("mode", STREAM_NAMES)
def test_setup_may_choose_how_to_respond(mode: str, folder: Path) -> None:
    with serving(mode, folder, Chooses) as server:
        assert exchange(server, b"hello\n") == b"HELLO\n"


REFUSED = [
    *((mode, AsyncGreet) for mode in NAMES),
    *((m, handler) for m in NAMES if m not in ASYNC_NAMES for handler in (AsyncRespond, Inherited)),
]


@pytest.mark.parametrize(("mode", "handler"), REFUSED)
def test_a_coroutine_is_refused_when_the_server_is_made(
    mode: str, handler: type, folder: Path
) -> None:
    with pytest.raises(HandlerNotSupported, match=rf"{handler.__name__}\.\w+ is `async def`"):
        echoservers.create_server(mode, free_address(mode, folder), handler)
    assert list(folder.iterdir()) == []


OVER_TCP = [m.name for m in AVAILABLE_MODES if m.transport == "tcp" and "prefork" not in m.name]


def test_a_refusal_names_the_modes_of_the_same_transport_that_take_the_handler() -> None:
    with pytest.raises(HandlerNotSupported) as caught:
        echoservers.create_server("threading-tcp", ("127.0.0.1", 0), AsyncRespond)
    named = str(caught.value).partition("; these take it: ")[2].split(", ")
    assert named == [n for n in OVER_TCP if echoservers.server_class(n).runs_async]
    with pytest.raises(HandlerNotSupported) as caught:
        echoservers.create_server("asyncio-tcp", ("127.0.0.1", 0), OwnReading)
    named = str(caught.value).partition("; these take it: ")[2].split(", ")
    assert named == [n for n in OVER_TCP if echoservers.server_class(n).runs_handle]
    with pytest.raises(HandlerNotSupported) as caught:
        echoservers.create_server("asyncio-tcp", ("127.0.0.1", 0), AsyncGreet)
    assert "take it" not in str(caught.value)


class OwnServer(echoservers.ThreadingTCPServer):
    pass


@pytest.mark.parametrize("cls", [echoservers.server_class("threading-tcp"), OwnServer])
def test_a_class_that_is_made_directly_names_them_as_well(cls: Any) -> None:
    with pytest.raises(HandlerNotSupported) as asked:
        echoservers.create_server("threading-tcp", ("127.0.0.1", 0), AsyncRespond)
    with pytest.raises(HandlerNotSupported) as made:
        cls(("127.0.0.1", 0), AsyncRespond)
    assert "; these take it: asyncio-tcp" in str(made.value)
    assert str(made.value) == str(asked.value).replace("threading-tcp", cls.__name__, 1)


def test_a_server_of_somebody_else_has_no_mode_to_name() -> None:
    class Somebodys(echoservers.EpollMixIn, socketserver.TCPServer):
        pass

    with pytest.raises(HandlerNotSupported, match=r"OwnReading has a handle\(\)") as caught:
        Somebodys(("127.0.0.1", 0), OwnReading)
    assert "take it" not in str(caught.value)


CHILDREN_OF_WORKERS = [name for name in AVAILABLE if name == "prefork-forking-tcp"]


class EndsIt(EchoHandler):
    def finish(self) -> None:
        super().finish()
        self.server.shutdown_request(self.request)


@pytest.mark.parametrize("mode", [*STREAM_NAMES, *CHILDREN_OF_WORKERS])
def test_a_handler_that_ends_its_own_connection_is_counted_once(mode: str, folder: Path) -> None:
    with serving(mode, folder, EndsIt) as server:
        assert exchange(server, b"hello") == b"hello"
        wait_until(lambda: server.stats()["active"] == 0, "it is over")
        stats = server.stats()
    assert (stats["accepted"], stats["closed"], stats["messages"]) == (1, 1, 1)
    assert (stats["bytes_in"], stats["bytes_out"], stats["errors"]) == (5, 5, 0)


class OwnHandle(EchoHandler):
    def handle(self) -> None:
        raise AssertionError("nobody calls it")


@pytest.mark.parametrize("mode", [name for name in NAMES if name not in HANDLE_NAMES])
def test_an_own_handle_is_refused_by_a_model_that_moves_the_bytes(mode: str, folder: Path) -> None:
    for handler in (OwnHandle, OwnReading):
        with pytest.raises(
            HandlerNotSupported, match=rf"{handler.__name__} has a handle\(\) of its own"
        ):
            echoservers.create_server(mode, free_address(mode, folder), handler)
    assert list(folder.iterdir()) == []


class OwnReading(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


@pytest.mark.parametrize("mode", [n for n in STREAM_NAMES if n in HANDLE_NAMES])
def test_a_handler_of_socketserver_does_its_own_reading(mode: str, folder: Path) -> None:
    with serving(mode, folder, OwnReading) as server:
        assert exchange(server, b"one\ntwo") == b"ONE\nTWO"


class OwnSending(socketserver.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.read().upper())


@pytest.mark.parametrize("mode", [n for n in UDP_NAMES if n in HANDLE_NAMES])
def test_a_datagram_handler_of_socketserver_does_its_own_sending(mode: str, folder: Path) -> None:
    with serving(mode, folder, OwnSending) as server:
        assert exchange(server, b"hello") == b"HELLO"


@pytest.mark.parametrize("mode", [n for n in NAMES if n not in HANDLE_NAMES])
def test_a_handler_that_reads_for_itself_is_refused_where_it_would_hold_up_all(
    mode: str, folder: Path
) -> None:
    """The message names the modes that take it."""
    transport = find_mode(mode).transport
    takers = rf"OwnReading has a handle\(\).*; these take it: {transport}, threading-{transport}"
    with pytest.raises(HandlerNotSupported, match=takers):
        echoservers.create_server(mode, free_address(mode, folder), OwnReading)
    assert list(folder.iterdir()) == []

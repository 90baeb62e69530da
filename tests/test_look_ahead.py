"""An iterative server accepts the next connection while the client that it serves is reading."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from echoservers import EchoHandler, create_server
from echoservers.handlers import HANDLERS
from support import (
    PATIENCE,
    connect,
    echo,
    free_address,
    receive_all,
    receive_exactly,
    serving,
    wait_until,
)

ITERATIVE = ("tcp", "unix-stream")


@pytest.fixture(autouse=True)
def always_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait counts as one that found something there at once, on slow machines too."""
    monkeypatch.setattr("echoservers.loop.AT_ONCE", PATIENCE)


def ends_unanswered(client: socket.socket) -> bool:
    try:
        return receive_all(client) == b""
    except ConnectionError:
        return True


class Clients(ExitStack):
    """Connected to *server*, one after the other, each with a message of its own on its way."""

    def __init__(self, server: Any, count: int) -> None:
        super().__init__()
        self.all: list[socket.socket] = []
        for number in range(count):
            client = self.enter_context(connect(server))
            client.sendall(b"%03d" % number)
            self.all.append(client)


@contextmanager
def with_one_ahead(mode: str, folder: Path, handler: Any = EchoHandler) -> Iterator[Any]:
    """A server in a thread that serves the first of three clients and has accepted the second."""
    with create_server(mode, free_address(mode, folder), handler) as server:
        with Clients(server, 3) as clients:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                assert receive_exactly(clients.all[0], 3) == b"000"
                wait_until(lambda: server._ahead is not None, "the second is accepted")
                yield server, clients.all
            finally:
                server.shutdown()
                thread.join(PATIENCE)
                assert not thread.is_alive()
        assert server._ahead is None


@pytest.mark.parametrize("handler", ["echo", "upper"])
@pytest.mark.parametrize("mode", ITERATIVE)
def test_the_next_is_accepted_but_not_served(mode: str, handler: str, folder: Path) -> None:
    with with_one_ahead(mode, folder, HANDLERS[handler]) as (server, clients):
        stats = server.stats()
        assert (stats["accepted"], stats["active"], stats["closed"]) == (1, 1, 0)
        echo(clients[0], b"STILL ITS TURN")
        for number in (1, 2):
            clients[number - 1].close()
            assert receive_exactly(clients[number], 3) == b"%03d" % number
        clients[2].close()
        wait_until(lambda: server.stats()["closed"] == 3, "all were served")
        assert server.stats()["messages"] == 4


@pytest.mark.parametrize("mode", ITERATIVE)
def test_a_long_row_is_served_in_order(mode: str, folder: Path) -> None:
    """Longer than what is taken before the loop looks at anything else."""
    count = 2 * 64 + 10
    with (
        create_server(mode, free_address(mode, folder), request_queue_size=2 * count) as server,
        Clients(server, count) as clients,
    ):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for number, client in enumerate(clients.all):
                assert receive_exactly(client, 3) == b"%03d" % number
                client.close()
            wait_until(lambda: server.stats()["closed"] == count, "all were served")
        finally:
            server.shutdown()
            thread.join(PATIENCE)


@pytest.mark.parametrize("mode", ITERATIVE)
def test_shutdown_answers_what_it_has_sent(mode: str, folder: Path) -> None:
    with with_one_ahead(mode, folder) as (server, clients):
        server.shutdown()
        assert receive_all(clients[0]) == b""
        assert receive_all(clients[1]) == b"001"
        assert server.stats()["closed"] == 2
        # The third waits in the backlog, for whoever serves next.
        clients[2].shutdown(socket.SHUT_WR)
        server.handle_request()
        assert receive_all(clients[2]) == b"002"


@pytest.mark.parametrize("mode", ITERATIVE)
def test_a_drain_answers_all(mode: str, folder: Path) -> None:
    with with_one_ahead(mode, folder) as (server, clients):
        assert server.drain(PATIENCE) == (3, 0)
        assert [receive_all(client) for client in clients] == [b"", b"001", b"002"]


class Aborts(EchoHandler):
    def respond(self, message: bytes) -> bytes:
        if self.server._ahead is not None:
            self.server.start_drain()
            self.server.abort()
        return message


@pytest.mark.parametrize("mode", ITERATIVE)
def test_an_abort_serves_it_no_more(mode: str, folder: Path) -> None:
    with with_one_ahead(mode, folder, Aborts) as (server, clients):
        clients[0].sendall(b"again")
        assert ends_unanswered(clients[1])
        assert server.stats()["accepted"] == 1


class ServesAsItLikes(EchoHandler):
    def handle(self) -> None:
        super().handle()


def test_not_for_a_handler_that_a_stop_does_not_end() -> None:
    with (
        create_server("tcp", ("127.0.0.1", 0), ServesAsItLikes) as server,
        Clients(server, 3) as clients,
    ):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert receive_exactly(clients.all[0], 3) == b"000"
        echo(clients.all[0])
        assert server._ahead is None
        server._stop_soon()
        clients.all[0].close()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_ctrl_c_leaves_nothing_open() -> None:
    """It is raised in the handler, and what was accepted is closed on the way out."""

    class Interrupted(EchoHandler):
        def respond(self, message: bytes) -> bytes:
            if self.server._ahead is not None:
                os.kill(os.getpid(), signal.SIGINT)
            return message

    with (
        create_server("tcp", ("127.0.0.1", 0), Interrupted) as server,
        Clients(server, 3) as clients,
    ):

        def speak() -> None:
            receive_exactly(clients.all[0], 3)
            clients.all[0].sendall(b"again")

        speaking = threading.Thread(target=speak)
        speaking.start()
        with pytest.raises(KeyboardInterrupt):
            server.serve_forever()
        speaking.join(PATIENCE)
        assert server._ahead is None
        assert ends_unanswered(clients.all[1])


def test_a_worker_leaves_the_next_to_whoever_is_free(folder: Path) -> None:
    with (
        serving("prefork-tcp", folder, workers=2) as server,
        connect(server) as first,
        connect(server) as second,
    ):
        echo(first)
        echo(second)
        with Clients(server, 10) as clients:
            second.close()  # and the other worker has no time for any of them
            for number, client in enumerate(clients.all):
                assert receive_exactly(client, 3) == b"%03d" % number
                client.close()

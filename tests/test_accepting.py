"""accept(2) without working out the listener's kind anew: as ``socket.accept`` in all else."""

import socket
from pathlib import Path
from typing import Any

import pytest

from echoservers.accepting import acceptor


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_as_the_listener_itself(family: socket.AddressFamily, folder: Path) -> None:
    with socket.socket(family) as listener:
        listener.bind(str(folder / "socket") if family == socket.AF_UNIX else ("127.0.0.1", 0))
        listener.listen()
        accept = acceptor(listener)
        assert accept != listener.accept
        seen = []
        for take in (accept, listener.accept):
            with socket.socket(family) as client:
                client.connect(listener.getsockname())
                connection, address = take()
                with connection:
                    assert address == client.getsockname()
                    assert not connection.get_inheritable()
                    seen.append(
                        (
                            type(connection),
                            connection.family,
                            connection.type,
                            connection.proto,
                            connection.gettimeout(),
                            type(address),
                        )
                    )
        assert seen[0] == seen[1]


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            acceptor(listener)()


class Counting(socket.socket):
    count = 0

    def accept(self) -> tuple[Any, Any]:
        self.count += 1
        return super().accept()


def test_an_accept_of_somebody_elses_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with Counting() as listener:
        assert acceptor(listener) == listener.accept
    with socket.socket() as listener:
        monkeypatch.setattr(socket.socket, "accept", lambda self: None)
        assert acceptor(listener)() is None

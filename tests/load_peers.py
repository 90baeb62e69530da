"""Servers for the load generator, most of them bad, each in a thread of this process."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def serving_one(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP server that gives every connection to *serve*, each in a thread; its endpoint."""
    threads: list[threading.Thread] = []
    peers: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def serve_safely(peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            serve(peer)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                peers.append(peer)
                threads.append(threading.Thread(target=serve_safely, args=(peer,)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def flips_a_byte(peer: socket.socket) -> None:
    """Wrong from the hundredth reply on."""
    count = 0
    while data := peer.recv(65536):
        count += 1
        if count >= 100:
            data = data[:10] + b"?" + data[11:]
        peer.sendall(data)


def answers_another(peer: socket.socket) -> None:
    """What came first, for ever: a reply that belongs elsewhere."""
    first = peer.recv(65536)
    data = first
    while data:
        peer.sendall(first)
        data = peer.recv(65536)


def says_too_much(peer: socket.socket) -> None:
    """Every reply twice."""
    while data := peer.recv(65536):
        peer.sendall(data * 2)


def falls_silent(peer: socket.socket) -> None:
    """Reads on, and answers no more after ten."""
    count = 0
    while data := peer.recv(65536):
        count += 1
        if count < 10:
            peer.sendall(data)


def hangs_up(peer: socket.socket) -> None:
    """Ten replies, then the end."""
    for _ in range(10):
        peer.sendall(peer.recv(65536))


def says_nothing(peer: socket.socket) -> None:
    """Reads and is silent."""
    while peer.recv(65536):
        pass


def in_small_pieces(peer: socket.socket) -> None:
    """Right, but a few bytes at a time."""
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := peer.recv(1000):
        for start in range(0, len(data), 7):
            peer.sendall(data[start : start + 7])

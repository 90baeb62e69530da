"""What our Python adds to the two system calls of a message, in one process.

    python benchmarks/shortest_path.py

Beside each path of ours stands the shortest Python that does the same: receive into a buffer,
send a slice of it. Nothing is waited for and nobody else runs, so the least of many rounds is
hardly disturbed by a busy machine; what is left between the two is what could still be saved.
What is answered together takes fewer system calls than that, two a batch.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import echoservers

MESSAGE = b"x" * 64
ROUNDS = 200
IN_A_ROUND = 64  # datagrams that fit the default receive buffer
LOOPBACK = ("127.0.0.1", 0)


def least(prepare: Callable[[], None], run: Callable[[], None], clear: Callable[[], None]) -> float:
    """Return the microseconds a message of the quickest round."""
    best = float("inf")
    for _ in range(ROUNDS):
        prepare()
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
        clear()
    return best / IN_A_ROUND * 1e6


def datagrams(together: bool) -> tuple[float, float]:
    """`epoll-udp` against recvfrom_into and sendto."""
    server = echoservers.create_server("epoll-udp", LOOPBACK)
    with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(server.server_address)
        server.socket.setblocking(False)
        server.logs_connections = False
        server._prepare_to_serve()
        server._loop.is_busy = True
        if not together:
            server._plain_path._load = lambda: None
        buffer = memoryview(bytearray(65536))
        receive, send = server.socket.recvfrom_into, server.socket.sendto

        def shortest() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    size, source = receive(buffer)
                    send(buffer[:size], source)

        def prepare() -> None:
            for _ in range(IN_A_ROUND):
                client.send(MESSAGE)

        def clear() -> None:
            for _ in range(IN_A_ROUND):
                client.recv(100)

        return least(prepare, server._accept_batch, clear), least(prepare, shortest, clear)


def stream() -> tuple[float, float]:
    """`epoll-tcp`, a turn of the loop for each message, against epoll, recv_into and send."""
    server = echoservers.create_server("epoll-tcp", LOOPBACK)
    client, other = socket.socketpair()
    with server, client, selectors.EpollSelector() as epoll:
        other.setblocking(False)
        server.process_request(other, ("", 0))
        epoll.register(other, selectors.EVENT_READ)
        poll = epoll._selector.poll
        buffer = memoryview(bytearray(65536))
        receive, send = other.recv_into, other.send

        def ours() -> None:
            for _ in range(IN_A_ROUND):
                client.send(MESSAGE)
                server._turn(None)
                client.recv(100)

        def shortest() -> None:
            for _ in range(IN_A_ROUND):
                client.send(MESSAGE)
                for _event in poll():
                    size = receive(buffer)
                    send(buffer[:size])
                client.recv(100)

        def nothing() -> None:
            """A round begins and ends with nothing in flight."""

        measured = least(nothing, ours, nothing), least(nothing, shortest, nothing)
        client.close()  # the server sees the end, and has nothing left when it is closed
        server._turn(None)
        return measured


def streams() -> tuple[float, float]:
    """`epoll-tcp` with all its connections ready at once, against the same without a batch."""
    server = echoservers.create_server("epoll-tcp", LOOPBACK)
    pairs = [socket.socketpair() for _ in range(IN_A_ROUND)]
    with contextlib.ExitStack() as stack, selectors.EpollSelector() as epoll:
        stack.enter_context(server)
        by_number = {}
        for client, other in pairs:
            stack.enter_context(client)
            other.setblocking(False)
            server.process_request(other, ("", 0))
            epoll.register(other, selectors.EVENT_READ)
            by_number[other.fileno()] = (other.recv_into, other.send)
        poll = epoll._selector.poll
        buffer = memoryview(bytearray(65536))

        def shortest() -> None:
            for number, _ in poll(None, IN_A_ROUND):
                receive, send = by_number[number]
                size = receive(buffer)
                send(buffer[:size])

        def prepare() -> None:
            for client, _ in pairs:
                client.send(MESSAGE)

        def clear() -> None:
            for client, _ in pairs:
                client.recv(100)

        ours = least(prepare, lambda: server._turn(None), clear)
        measured = ours, least(prepare, shortest, clear)
        for client, _ in pairs:
            client.close()  # the server sees the ends, and has nothing left when it is closed
        server._turn(None)
        return measured


def main() -> None:
    """Measure both, and print the microseconds a message."""
    print("microseconds a message       ours  shortest")
    for name, measure in (
        ("epoll-udp, one by one", lambda: datagrams(together=False)),
        ("epoll-udp, together", lambda: datagrams(together=True)),
        ("epoll-tcp, client included", stream),
        ("epoll-tcp, together", streams),
    ):
        ours, shortest = measure()
        print(f"{name:27}{ours:6.2f}{shortest:10.2f}")


if __name__ == "__main__":
    main()

"""The cheapest echo server that Python can be, a program: what the generator is measured with.

    python -m echoservers.lab.load.reflector TRANSPORT [PATH]

It prints its endpoint and serves until its standard input ends.  It verifies nothing, limits
nothing and gives nobody up: it is no server to be used.
"""

import select
import socket
import sys
from collections.abc import Callable

BUFFER_SIZE = 262144  # bytes of one read, as the generator's own
BACKLOG = 1024  # more than the generator begins at a time


def listen(transport: str, path: str) -> tuple[socket.socket, str]:
    """The server's socket, and the endpoint that says where it is."""
    kind = socket.SOCK_STREAM if transport in ("tcp", "unix-stream") else socket.SOCK_DGRAM
    if transport.startswith("unix"):
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.bind(path)
        endpoint = f"{transport}://{path}"
    else:
        sock = socket.socket(socket.AF_INET, kind)
        sock.bind(("127.0.0.1", 0))
        endpoint = f"{transport}://127.0.0.1:{sock.getsockname()[1]}"
    if kind == socket.SOCK_STREAM:
        sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock, endpoint


class Reflector:
    """Sends back what comes."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._epoll = select.epoll()
        self._steps: dict[int, Callable[[], None]] = {}
        self._peers: dict[int, socket.socket] = {}

    def serve(self) -> None:
        """Until standard input ends."""
        step = self._accept if self._listener.type == socket.SOCK_STREAM else self._datagrams
        steps = self._steps
        steps[self._listener.fileno()] = step
        steps[0] = sys.exit
        for fd in steps:
            self._epoll.register(fd, select.EPOLLIN)
        poll = self._epoll.poll
        while True:
            for fd, _ in poll():
                steps[fd]()

    def _accept(self) -> None:
        peer, _ = self._listener.accept()
        peer.setblocking(False)
        if peer.family == socket.AF_INET:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fd = peer.fileno()
        self._peers[fd] = peer
        recv, send = peer.recv, peer.send

        def step() -> None:
            data = b""
            try:
                data = recv(BUFFER_SIZE)
                if not data:
                    self._end(fd)
                elif (sent := send(data)) < len(data):
                    self._keep(fd, data[sent:])
            except BlockingIOError:
                self._keep(fd, data)  # no event comes without something to read
            except OSError:
                self._end(fd)

        self._steps[fd] = step
        self._epoll.register(fd, select.EPOLLIN)

    def _keep(self, fd: int, data: bytes) -> None:
        """Read no more until *data* has gone."""
        send, again, left = self._peers[fd].send, self._steps[fd], memoryview(data)

        def step() -> None:
            nonlocal left
            try:
                left = left[send(left) :]
            except BlockingIOError:
                return
            except OSError:
                self._end(fd)
                return
            if not left:
                self._steps[fd] = again
                self._epoll.modify(fd, select.EPOLLIN)

        self._steps[fd] = step
        self._epoll.modify(fd, select.EPOLLOUT)

    def _end(self, fd: int) -> None:
        del self._steps[fd]
        self._peers.pop(fd).close()

    def _datagrams(self) -> None:
        try:
            while True:
                data, peer = self._listener.recvfrom(BUFFER_SIZE)
                self._listener.sendto(data, peer)
        except OSError:  # no more, or no room at the peer
            return


def main() -> None:
    """Serve."""
    sock, endpoint = listen(sys.argv[1], "".join(sys.argv[2:]))
    sys.stdout.write(endpoint + "\n")
    sys.stdout.flush()
    Reflector(sock).serve()


if __name__ == "__main__":
    main()

"""Clients of a stream: one message at a time, some at a time, or whatever was sent.

Of a reply no more than the time of its end is written down.  When its message left follows:
in a closed loop when the reply before it had come (with a pipeline of P, the P-th before it),
in an open loop when it was due.

A piece that comes is compared with the bytes that were sent by one call in C: equality, or
``startswith`` at a position, neither of which copies.
"""

import socket
from array import array
from collections.abc import Callable
from itertools import cycle
from typing import Any

from .loop import READ, WRITE, Loop, Steps, WrongReply, clock, reason_of
from .messages import Rings, difference
from .sockets import Dialler, finish_connect

__all__ = ["ClosedByServer", "StreamClient"]

RECEIVE_SIZE = 262144
"""Bytes of one receive: what a Linux socket has at hand after growing its buffer a little."""


class ClosedByServer(OSError):
    """The server ended a connection that was to go on."""

    def __init__(self) -> None:
        super().__init__("closed by the server")


class StreamClient:
    """One connection, from dialling to closing.

    :param number: of this client.
    :param pipeline: messages in flight; 0: they are sent by `send_message`.
    """

    kind = ""
    """What the names of its errors begin with."""
    settles_at_once = True
    """Whether to be connected is enough for the measuring to begin."""

    def __init__(
        self, loop: Loop, dialler: Dialler, rings: Rings, number: int, pipeline: int = 1
    ) -> None:
        self.loop = loop
        self.number = number
        self.ends = array("d")
        """When each reply was complete.

        Not made as long as it gets beforehand: to append takes 31 ns, to store at a place and
        count 38.  It grows by a sixteenth when it is full, 124 times in 200,000, half a
        microsecond each time.
        """
        self.began = 0.0
        """When the first message could leave; 0 before."""
        self.sent = 0
        """Messages that `send_message` has sent, or keeps."""
        self.is_open = True
        self.dialler = dialler
        self.rings = rings
        self._size = rings.size
        self._pipeline = pipeline
        self._channel: Any = None
        self.messages = cycle(rings.of(number))
        self._fd = -1
        self._events = 0
        self._unsent = bytearray()
        self._take: Callable[[Any], Any] | None = None
        self.has_settled = False

    # --- life -----------------------------------------------------------------------

    def dial(self) -> None:
        """Begin to connect; what fails is counted."""
        try:
            self._channel = sock = self.dialler.dial()
        except OSError as error:
            self.failed(error)
            return
        self._fd, self._events = sock.fileno(), WRITE
        self.loop.add(self._fd, self, self._connect(sock).__next__, WRITE)

    def failed(self, error: OSError) -> None:
        self.loop.errors[self.kind + reason_of(error)] += 1
        self.settle()
        self.close()

    def settle(self) -> None:
        """It is where it should be before the measuring, or will never be."""
        if not self.has_settled:
            self.has_settled = True
            self.loop.settled += 1

    def close(self) -> None:
        """Close the connection; harmless when done twice."""
        self.is_open = False
        if self._fd >= 0:
            self.loop.remove(self._fd)
            self._channel.close()
            self._fd = -1

    def talk(self) -> Steps:
        """What follows once it is connected."""
        if self._pipeline == 0:
            return self._listen()
        if self._pipeline > 1:
            return self._some_at_a_time()
        steps = self._one_at_a_time()
        self._take = steps.send
        return steps

    def _connect(self, sock: socket.socket) -> Steps:
        finish_connect(sock)
        self._channel = self.dialler.secure(sock)
        yield from self.shake_hands()
        self.wait_for(READ)
        self.began = clock()
        if self.settles_at_once:
            self.settle()
        self.loop.follow(self._fd, self.talk())
        yield  # for ever: others follow

    def shake_hands(self) -> Steps:
        """TLS, where there is TLS."""
        handshake: Callable[[], bool] | None = getattr(self._channel, "handshake", None)
        while handshake is not None:
            try:
                if handshake():
                    return
                self.wait_for(READ)
            except BlockingIOError:
                self.wait_for(WRITE)
            yield

    def wait_for(self, events: int) -> None:
        """Let the next step come with *events*."""
        if events != self._events:
            self._events = events
            self.loop.epoll.modify(self._fd, events)

    # --- closed loop ----------------------------------------------------------------

    def _one_at_a_time(self) -> Steps:
        """Also for `together`: then what has come is given, and what is to be sent is yielded."""
        send, recv, log = self._channel.send, self._channel.recv, self.ends.append
        size, room = self._size, min(self._size, RECEIVE_SIZE)
        takers, fd = self.loop.takers, self._fd
        takers[fd] = self._take
        given: Any = None
        for message in self.messages:
            sent, data = size, None
            if given is None:
                try:
                    sent = send(message)
                except BlockingIOError:
                    sent = 0
                if sent == size:
                    given = yield
            else:
                given = yield message
                if isinstance(given, int):
                    sent = given
            if sent == size:
                if given is None:
                    try:
                        data = recv(room)
                    except BlockingIOError:
                        pass  # resumed for nothing
                else:
                    data = given
            if data != message:
                takers[fd] = given = None
                yield from self.exchange(message, sent, data)
                takers[fd] = self._take
            log(clock())

    def exchange(self, message: bytes, sent: int, data: bytes | None) -> Steps:
        """The rest of an exchange that does not go in one piece; reads while it sends.

        :param sent: bytes of *message* that have left.
        :param data: what came first, if anything did.
        """
        size, received, view = len(message), 0, memoryview(message)
        while True:
            if data is not None:
                self._check(data, message, received, len(self.ends) * size + received)
                received += len(data)
                if received == size:
                    return
            sent += self.send_some(view[sent:])
            if data is None:
                self.wait_for(READ if sent == size else READ | WRITE)
                yield
            data = self.receive_some(min(size - received, RECEIVE_SIZE))

    def _some_at_a_time(self) -> Steps:
        ring, size = self.rings.stream(self.number), self._size
        view, length = memoryview(ring * 2), len(ring)
        sent = done = 0
        listening = self._replies(lambda: sent)
        while True:
            allowed = (done + self._pipeline) * size
            while sent < allowed:
                start = sent % length
                went = self.send_some(view[start : start + allowed - sent])
                sent += went
                if not went:
                    break
            self.wait_for(READ if sent == allowed else READ | WRITE)
            yield
            next(listening)
            done = len(self.ends)

    # --- open loop ------------------------------------------------------------------

    def _listen(self) -> Steps:
        replies = self._replies(lambda: self.sent * self._size)
        while True:
            yield
            if self._unsent:
                self._flush()
            next(replies)

    def _replies(self, sent: Callable[[], int]) -> Steps:
        """Each step takes what has come; *sent* tells how many bytes it can be at most."""
        ring, size, log = self.rings.stream(self.number), self._size, self.ends.append
        stream, length = ring * 2, len(ring)
        room, recv = min(length, RECEIVE_SIZE), self._channel.recv
        received = done = 0
        while True:
            try:
                data = recv(room)
            except BlockingIOError:
                yield
                continue
            if not stream.startswith(data, received % length) or not data:
                start = received % length
                self._check(data, stream[start : start + room], 0, received)
            received += len(data)
            if received // size > done:
                now = clock()
                while done < received // size:
                    log(now)
                    done += 1
                if received > sent():
                    raise WrongReply(f"connection {self.number}: more came than was sent")
            if len(data) < room:
                yield

    def send_message(self, _index: int) -> None:
        """Send the next message; what does not go is kept for when there is room."""
        if self._fd < 0:
            return
        self.sent += 1
        message = next(self.messages)
        if self._unsent:
            self._unsent += message
            return
        try:
            went: int = self._channel.send(message)
        except BlockingIOError:
            went = 0
        except OSError as error:
            self.failed(error)
            return
        if went < self._size:
            self._unsent += message[went:]
            self.wait_for(READ | WRITE)

    def _flush(self) -> None:
        with memoryview(self._unsent) as unsent:
            went = self.send_some(unsent)
        del self._unsent[:went]
        if not self._unsent:
            self.wait_for(READ)

    # --- bytes ----------------------------------------------------------------------

    def send_some(self, data: memoryview) -> int:
        """How much of *data* went."""
        if not data:
            return 0
        try:
            sent: int = self._channel.send(data)
        except BlockingIOError:
            return 0
        return sent

    def receive_some(self, size: int) -> bytes | None:
        """What is there; None: nothing."""
        try:
            data: bytes = self._channel.recv(size)
        except BlockingIOError:
            return None
        return data

    def _check(self, data: bytes, expected: bytes, at: int, position: int) -> None:
        """That *data*, *position* bytes after the first, is what *expected* has from *at*.

        :raises ClosedByServer: it is the end of the stream.
        :raises WrongReply: it differs.
        """
        if not data:
            raise ClosedByServer
        if not expected.startswith(data, at):
            raise WrongReply(difference(self.number, position, self._size, expected[at:], data))

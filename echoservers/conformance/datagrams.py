"""Checks: each datagram is answered by one, to its sender, whole."""

import contextlib
import errno
import select
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..addresses import parse_endpoint
from .engine import DATAGRAM, RFC_862, check
from .forged import ForgedSocket
from .open_socket import OpenSocket, loopback_address, open_socket
from .peer import CheckFailed, CheckSkipped, Peer, shown
from .subject import ENDING, Subject

ETHERNET = 1472
"""Bytes: what one Ethernet frame carries; 1,500 without the headers of IP and UDP."""

LARGEST = 65507
"""Bytes: what a UDP datagram holds; 65,535 without the headers (RFC 768, RFC 791)."""

QUIET = 0.2
"""Seconds in which what must not come does not; a reply takes a millisecond."""

DISCARD = 9
"""A port from which nothing comes (RFC 863)."""

LOST = 0.5
"""Seconds after which a datagram or its reply is taken for lost."""

LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what is asked, where all are named

SECOND_ADDRESS = "127.0.0.2"  # where a server is, too, that is bound to all of them

TRIES = 4
"""How often a client asks that has to be sure."""

BURST = 32
"""Datagrams at a time: some 25 KiB of the 208 KiB of a receive buffer (net.core.rmem_default)."""

CATCH_UP = 0.05
"""Seconds for a server whose queue is full to read on, if it does."""

UNIX_BURST = 8
"""Of Unix datagrams: below the 10 that a queue takes (net.unix.max_dgram_qlen)."""


def text(size: int) -> bytes:
    """A datagram of *size* bytes that can be read, no two parts of which are the same."""
    if size < 8:
        return b"datagram"[:size]
    return b"".join(b"%07d." % number for number in range(size // 8 + 1))[: size - 1] + b"\n"


@check(RFC_862, DATAGRAM)
def empty(subject: Subject) -> None:
    """An empty datagram is answered by an empty one."""
    _echo(subject, b"")


@check(RFC_862, DATAGRAM)
def sizes(subject: Subject) -> None:
    """Datagrams of 1, 512 and 1 472 bytes come back whole."""
    _echo_sizes(subject, 1, 512, ETHERNET)


@check("RFC 862; RFC 768", DATAGRAM)
def large(subject: Subject) -> None:
    """Datagrams of 8 192 and 8 193 bytes come back whole."""
    _echo_sizes(subject, 8192, 8193)


@check("RFC 862; RFC 768", DATAGRAM)
def largest(subject: Subject) -> None:
    """The largest datagram, of 65 507 bytes, comes back whole."""
    _echo_sizes(subject, LARGEST)


@check("RFC 862; RFC 768", DATAGRAM)
def boundaries(subject: Subject) -> None:
    """Datagrams that are sent one right after the other are answered one by one."""
    peer = subject.connect()
    messages = [text(size) for size in (3, 40, 9, 200, 17)]
    for message in messages:
        peer.say(message)
    replies = _replies(subject, peer, len(messages))
    if not replies:
        raise CheckFailed(f"{len(messages)} replies", "none")
    for reply in replies:  # whether all come is a matter of `burst`
        if reply not in messages:
            raise CheckFailed("each datagram as it went", f"{len(reply)} bytes: {shown(reply)}")


@check("RFC 1122, 4.1.3.5", DATAGRAM)
def from_where_asked(subject: Subject) -> None:
    """The reply comes from the address and port that were asked."""
    if subject.running.target.transport == "raw":
        raise CheckSkipped("raw IP has no ports, and the system chooses the address")
    peer = subject.connect()
    peer.say(b"where are you?\n")
    if not _replies(subject, peer, 1):
        raise CheckFailed("a reply", "none")
    asked, replied = peer.sides()
    if asked[0] in LOOPBACK:
        asked = (LOOPBACK[asked[0]], *asked[1:])
    if asked != replied:
        raise CheckFailed(f"a reply from {_place(asked)}", f"one from {_place(replied)}")
    if isinstance(asked, tuple) and (asked[0] == "::1" or asked[0].startswith("127.")):
        _replies_from(subject, (SECOND_ADDRESS, asked[1]))


@check(RFC_862, DATAGRAM)
def one_reply(subject: Subject) -> None:
    """A datagram is answered once: nothing comes after the reply."""
    peer = subject.connect()
    peer.say(b"once, please\n")
    if not _replies(subject, peer, 1):
        raise CheckFailed("a reply", "none")
    peer.expect_silence(QUIET)


@check(RFC_862, DATAGRAM)
def interleaved(subject: Subject) -> None:
    """Of clients that ask at the same time each gets the reply to its own datagram."""
    questions = {subject.connect(): b"this is client %d\n" % number for number in range(8)}
    waiting = list(questions)
    for _ in range(TRIES):
        for peer in waiting:
            peer.say(questions[peer])
        waiting = _unanswered(subject, waiting, questions)
        if not waiting:
            return
    missing = ", ".join(str(list(questions).index(peer)) for peer in waiting)
    raise CheckFailed(
        f"{len(questions)} clients with a reply each, in {TRIES} tries", f"none to client {missing}"
    )


@check("UNP 22.5: what fits into the buffers is not lost", DATAGRAM)
def burst(subject: Subject) -> None:
    """Datagrams that come at once, fewer than the buffers hold, are all answered."""
    unix = subject.running.target.transport == "unix-datagram"
    count = UNIX_BURST if unix else BURST
    peer = subject.connect()
    for number in range(count):
        peer.say(b"datagram %d of many\n" % number)
    got = len(_replies(subject, peer, count))
    if got < count:
        raise CheckFailed(f"{count} replies", f"{got}")


@check("UNP 8.9: the ICMP error of a reply that nobody takes", DATAGRAM)
def gone(subject: Subject) -> None:
    """A client that has gone before its reply came harms nobody."""
    _serves(subject)
    address = parse_endpoint(subject.running.endpoint).address
    if subject.running.target.transport == "udp":
        for _ in range(5):
            with open_socket(address) as sock:
                sock.connect((sock.target[0], DISCARD))  # it hears nobody else from now on
                sock.send(b"never mind\n")
                _serves(subject)
    else:
        for _ in range(5):
            with subject.connect() as peer:
                peer.say(b"never mind\n")
    if isinstance(address, str):
        _ask_without_address(subject, address)
    _serves(subject)


@check("UNP 30: no client may keep the server from the others", DATAGRAM)
def never_reads(subject: Subject) -> None:
    """A client that reads none of its replies does not keep the server from others."""
    _serves(subject)
    deaf = subject.connect()
    for number in range(_queue_length(subject) + 2):
        message = b"datagram %d, whose reply is not read\n" % number
        if not deaf.offer_datagram(message):
            deaf.hold(CATCH_UP)
            if not deaf.offer_datagram(message):
                break
    _serves(subject)


@check("RFC 862 loops: CVE-1999-0103, CVE-2024-2169", DATAGRAM)
def low_ports(subject: Subject) -> None:
    """A datagram that claims to come from port 7 or 19, where it would loop, is not answered."""
    with contextlib.ExitStack() as stack:
        senders = [stack.enter_context(_sender(subject, port)) for port in (7, 19)]
        _are_ignored(subject, senders)


@check("RFC 862 loops: CVE-1999-0103, CVE-2024-2169", DATAGRAM)
def own_port(subject: Subject) -> None:
    """A datagram that claims to come from an echo server at the same port is not answered."""
    address = parse_endpoint(subject.running.endpoint).address
    with _sender(subject, address[1] if isinstance(address, tuple) else 0) as sender:
        _are_ignored(subject, [sender])


# --- inside -------------------------------------------------------------------------------


def _echo_sizes(subject: Subject, *sizes: int) -> None:
    for size in sizes:
        _echo(subject, text(size))


def _echo(subject: Subject, message: bytes) -> None:
    """See *message* come back to a client that asks again where it was lost."""
    for _ in range(TRIES):
        peer = subject.connect()
        peer.say(message)
        for reply in _replies(subject, peer, 1):
            _is_same(message, reply)
            return
    raise CheckFailed(
        f"a datagram of {len(message)} bytes: {shown(message)}", f"none in {TRIES} tries"
    )


def _is_same(message: bytes, reply: bytes) -> None:
    if message == reply:
        return
    pairs = enumerate(zip(message, reply, strict=False))
    where = next((place for place, (a, b) in pairs if a != b), 0)
    begin = max(0, where - 8)  # some of what is still right, in front
    at = f", at byte {begin}" if begin else ""
    raise CheckFailed(
        f"{len(message)} bytes{at}: {shown(message[begin:])}",
        f"{len(reply)} bytes{at}: {shown(reply[begin:])}",
    )


def _replies(subject: Subject, peer: Peer, most: int, patience: float | None = None) -> list[bytes]:
    """What comes until there are *most*, or nothing has come for *patience*, in seconds."""
    found: list[bytes] = []
    peer.patience = LOST * subject.scale if patience is None else patience
    while len(found) < most:
        try:
            found.append(peer.receive())
        except OSError:  # none within that time, or nobody is there
            break
    return found


def _replies_from(subject: Subject, address: tuple[str, int]) -> None:
    """See replies come from *address*, if the server is there: it need not be.

    :raises CheckFailed: one comes from elsewhere.
    """
    peer = subject.connect(f"udp://{address[0]}:{address[1]}")
    for _ in range(TRIES):
        with contextlib.suppress(CheckFailed):  # a system without the address
            peer.say(b"and where are you here?\n")
        if _replies(subject, peer, 1):
            _, replied = peer.sides()
            if replied != address:
                raise CheckFailed(f"a reply from {_place(address)}", f"one from {_place(replied)}")
            return


def _unanswered(
    subject: Subject, waiting: Sequence[Peer], questions: Mapping[Peer, bytes]
) -> list[Peer]:
    """Those of *waiting* that nothing comes to, while all of them wait together.

    :raises CheckFailed: to one comes what it has not asked.
    """
    left = {peer.fileno(): peer for peer in waiting}
    poll = select.poll()
    for descriptor in left:
        poll.register(descriptor, select.POLLIN)
    # One after the other is right, too: it is over when nobody has got anything for so long.
    while left and (ready := poll.poll(LOST * subject.scale * 1000)):
        for descriptor, _ in ready:
            poll.unregister(descriptor)
            peer = left[descriptor]
            for reply in _replies(subject, peer, 1, 0):
                _is_same(questions[peer], reply)
                del left[descriptor]
    return list(left.values())


def _serves(subject: Subject) -> None:
    """See a client be served that asks again, since UDP gives no promise.

    :raises CheckFailed: it is not.
    """
    peer = subject.connect()
    for _ in range(TRIES):
        with contextlib.suppress(CheckFailed):
            peer.say(b"is it still there?\n")
        if _replies(subject, peer, 1):
            return
    subject.running.wait(subject.lengthened(ENDING))
    raise CheckFailed(f"a reply to one of {TRIES} datagrams", "none")


def _queue_length(subject: Subject) -> int:
    """How many datagrams the queue of a Unix client takes; of others any is dropped."""
    if subject.running.target.transport == "unix-datagram":
        with contextlib.suppress(OSError):
            return int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    return UNIX_BURST


def _ask_without_address(subject: Subject, path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
        nameless.settimeout(subject.patience)
        try:
            nameless.sendto(b"to nobody\n", path)
        except OSError as error:
            raise CheckFailed("a datagram to go", str(error.strerror or error)) from None


def _sender(subject: Subject, port: int) -> OpenSocket:
    """A socket at *port* whose datagrams seem to come from another server.

    It is at another address of this machine, where the server is on loopback: nothing can
    loop, and no other program has the port.

    :raises CheckSkipped: there is none.
    """
    transport, address = parse_endpoint(subject.running.endpoint)
    if transport != "udp" or isinstance(address, str):
        raise CheckSkipped(f"{transport} has no ports")
    sock = open_socket(address)
    host = ""
    if sock.family == socket.AF_INET and sock.target[0].startswith("127."):
        host = loopback_address()
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EACCES:
            needed = "root or the capability CAP_NET_BIND_SERVICE"
            raise CheckSkipped(f"to send from port {port} needs {needed}") from None
        if error.errno != errno.EADDRINUSE:
            raise CheckSkipped(f"no sender can have port {port}: {error.strerror}") from None
        if host and port == sock.target[1]:
            return _forger(subject, (host, port), sock.target)
        raise CheckSkipped(f"port {port} is taken here, be it by the server itself") from None
    return sock


def _forger(subject: Subject, source: tuple[str, int], target: tuple[str, int]) -> OpenSocket:
    """A sender from *source*, which a server has that is bound to all addresses.

    What it answers comes to itself, and is answered: it is to be one that can be ended.

    :raises CheckSkipped: there can be none.
    """
    taken = f"the server itself has port {source[1]}, at all addresses"
    if subject.running.pid is None:
        raise CheckSkipped(f"{taken}: it might answer itself for ever")
    try:
        return ForgedSocket(source, target)
    except PermissionError:
        needed = "root or the capability CAP_NET_RAW"
        raise CheckSkipped(f"{taken}: to send from there needs {needed}") from None
    except OSError as error:
        raise CheckSkipped(f"{taken}: none can be forged here: {error.strerror}") from None


def _are_ignored(subject: Subject, senders: Sequence[OpenSocket]) -> None:
    for sender in senders:
        sender.send(b"answer me\n")
    try:
        _serves(subject)
    finally:  # one that answers itself may have no time for others
        _hear_nothing(senders, subject.lengthened(QUIET))


def _hear_nothing(senders: Sequence[OpenSocket], seconds: float) -> None:
    """See no reply come to one of *senders* for *seconds*, whatever errors do.

    :raises CheckFailed: one does.
    """
    poll = select.poll()
    by_descriptor = {sender.fileno(): sender for sender in senders}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        for descriptor, events in poll.poll(left * 1000):
            sender = by_descriptor[descriptor]
            if events & select.POLLERR:  # somebody else's: the error of what was sent before
                sender.take_errors()
            if events & select.POLLIN and sender.has_reply():
                raise CheckFailed(f"no reply to port {sender.getsockname()[1]}", "one")


def _place(address: object) -> str:
    if isinstance(address, tuple):
        return f"{address[0]} port {address[1]}"
    return str(address) if address else "a socket without an address"

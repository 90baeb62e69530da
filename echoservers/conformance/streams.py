"""Checks: a stream, from its beginning to its end, for one client."""

import time

from .engine import RFC_862, check
from .messages import MIB, numbered_lines
from .peer import CheckFailed, Peer
from .subject import STALL, Subject

TCP_PUSH = "RFC 9293, 3.9.1"
TCP_CLOSING = "RFC 9293, 3.6"
TCP_WINDOW = "RFC 9293, 3.8.6"
CSAPP_ROBUST_IO = "CS:APP 10.5"

QUIET = 0.2
"""Seconds in which a server that sends something unasked has sent it."""

LEFT_OVER = 0.02
"""Seconds for what a server sends behind a message, which is another check's affair."""

PROMPT = 0.25
"""Seconds for an answer that takes a millisecond; people notice 0.1, and a clock's beat is
mostly 0.5 or 1."""

IDLE = 0.6
"""Seconds: a server that waits half a second for more has given up."""

MUCH = 8 * MIB
"""Bytes: twice what Linux by default keeps of a server's output while nobody reads it."""


@check(RFC_862)
def no_greeting(subject: Subject) -> None:
    """Nothing is sent before the client has sent something."""
    subject.connect().expect_silence(QUIET, or_end=True)


@check(RFC_862)
def nothing_more(subject: Subject) -> None:
    """After a message has come back, nothing more does."""
    peer = subject.connect()
    peer.say(b"hello\n")
    peer.hear(b"hello\n", last=True)
    peer.expect_silence(QUIET, or_end=True)


@check("CS:APP 12.1")
def prompt(subject: Subject) -> None:
    """A message is answered at once: without waiting for more, for the end, or for a clock."""
    limit, got = subject.lengthened(PROMPT), ""
    for attempt in range(3):  # one that is late may be the machine's fault
        peer = subject.connect()
        began = time.monotonic()
        try:
            peer.say(b"hello %d\n" % attempt)
            peer.patience = 2 * limit
            peer.hear(b"hello %d\n" % attempt)
        except CheckFailed as failure:
            got = failure.got
        else:
            took = time.monotonic() - began
            if took <= limit:
                return
            got = f"it after {took:.2g} s"
        peer.close()
    raise CheckFailed(f"an answer within {limit:g} s of the message", got)


@check(RFC_862, unframed=True)
def without_newline(subject: Subject) -> None:
    """A message that does not end in a newline is answered as well: a stream has no lines."""
    peer = subject.connect()
    peer.say(b"no newline")
    peer.hear(b"no newline")


@check(RFC_862)
def stays_open(subject: Subject) -> None:
    """A connection serves message after message, until its client ends it."""
    peer = subject.connect()
    for message in (b"first\n", b"second\n", b"third\n"):
        peer.say(message)
        peer.hear(message)


@check("RFC 9293, 3.8.4")
def idle(subject: Subject) -> None:
    """A connection on which nothing is said for a while is left in peace, and still served."""
    peer = subject.dialogue()
    peer.overhear(QUIET)  # what a server sends behind a message is another check's affair
    peer.expect_silence(IDLE - QUIET, or_end=True)
    peer.say(b"still there?\n")
    peer.hear(b"still there?\n")


@check(TCP_PUSH)
def fragments(subject: Subject) -> None:
    """A message that arrives byte by byte comes back whole: a read is not a message."""
    message = b"one byte at a time\n"
    peer = subject.connect()
    peer.trickle(message[i : i + 1] for i in range(len(message)))
    peer.expect(message, last=True)


@check(TCP_PUSH)
def many_messages(subject: Subject) -> None:
    """Many messages sent without waiting for an answer all come back, in their order."""
    lines = numbered_lines(64_000)  # first: a client must not hesitate
    subject.connect().echo(lines, last=True)


@check(CSAPP_ROBUST_IO, unframed=True)
def long_line(subject: Subject) -> None:
    """A line of 100 000 bytes comes back whole: larger than a buffer is not too large."""
    line = b"".join(b" %09d" % i for i in range(10_000)) + b"\n"
    subject.connect().ask(line)


@check(TCP_WINDOW, seconds=20.0)
def large(subject: Subject) -> None:
    """16 MiB go there and back at the same time, and neither side waits for the other for ever."""
    lines = numbered_lines(16 * MIB)
    subject.connect().echo(lines, last=True)


@check(TCP_WINDOW)
def late_reader(subject: Subject) -> None:
    """A client that sends much and reads it only then gets all of it."""
    peer, data = _unread(subject)
    peer.expect(data, last=True)


@check(TCP_WINDOW)
def back_pressure(subject: Subject) -> None:
    """A client that sends and never reads is stopped: no server keeps 64 MiB for it."""
    most = max(64 * MIB, _kernel_buffers() * 3 // 2)
    peer = subject.connect()
    taken = peer.stuff(most, STALL)
    if taken >= most:
        raise CheckFailed(
            "the server to stop reading while its answers are not read",
            f"{taken // MIB} MiB taken, with nothing read",
        )
    peer.leave()


@check(TCP_CLOSING)
def half_close(subject: Subject) -> None:
    """After the client's end of input everything has come back, and then the stream ends."""
    peer = subject.connect()
    peer.say(b"hello\n")
    peer.hear(b"hello\n", last=True)
    if not peer.has_ended:
        peer.overhear(LEFT_OVER)
        peer.finish()
    peer.expect_end()


@check(TCP_CLOSING)
def end_at_once(subject: Subject) -> None:
    """A message with the end of input right behind it comes back, and then the stream ends."""
    peer = subject.connect()
    peer.say(b"hello\n")
    peer.finish()
    peer.hear(b"hello\n")
    peer.expect_end(ignore=True)


@check(TCP_CLOSING, unframed=True)
def end_without_newline(subject: Subject) -> None:
    """What the end of input cuts off in the middle of a line comes back, too."""
    peer = subject.connect()
    peer.say(b"hello\nhalf a li")
    peer.finish()
    peer.hear(b"half a li")


@check(TCP_CLOSING)
def end_after_much(subject: Subject) -> None:
    """An end of input behind 8 MiB that wait to be read cuts nothing off."""
    peer, data = _unread(subject, then_end=True)
    peer.expect(data, then_end=True)


@check(TCP_CLOSING)
def end_of_nothing(subject: Subject) -> None:
    """A client that ends its input without having sent anything gets the end of the stream."""
    peer = subject.connect()
    peer.finish()
    peer.expect_end()


def _unread(subject: Subject, then_end: bool = False) -> tuple[Peer, bytes]:
    """A client that has sent as much as the server takes of much, and has read nothing."""
    data = numbered_lines(max(MUCH, 2 * _third("/proc/sys/net/ipv4/tcp_wmem")))
    peer = subject.connect()
    peer.take_little()
    if peer.offer(data, STALL) == len(data):
        if then_end:
            peer.finish()
        peer.hold(STALL)  # the system has it: time for the server to take it
    return peer, data


def _kernel_buffers() -> int:
    """Bytes that the kernel may keep for a connection whose server does not read (tcp(7))."""
    read = _third("/proc/sys/net/ipv4/tcp_rmem")
    write = _third("/proc/sys/net/ipv4/tcp_wmem")
    return read + 2 * write  # its input; its output, and ours


def _third(path: str) -> int:
    """The most bytes of three numbers: the least, the first and the most."""
    try:
        with open(path) as file:
            return int(file.read().split()[2])
    except (OSError, ValueError, IndexError):
        return 0

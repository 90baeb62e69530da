"""Checks: several clients, after one another and at the same time.

Their messages say whose they are, so that one that comes to the wrong client shows.
"""

import contextlib
import functools
import re
import socket

from ..targets import Level
from .engine import check
from .failures import difference
from .manners import KNOCK_AGAIN
from .messages import LINE, MIB
from .peer import CheckFailed, CheckSkipped, Peer, shown
from .subject import STALL, Subject
from .together import exchange

UNP_DESIGNS = "UNP vol. 1, ch. 30"
CSAPP_CONCURRENCY = "CS:APP 12.1-12.3"

PAUSE = 0.05
"""Seconds in which a server that waits for input has read what there is."""

WAITING = 4
"""Clients in the queue; the smallest backlog in use, the standard library's 5, has room."""

QUEUED = 0.5
"""Seconds for the system to put a client into the queue: it takes microseconds, and where there
is no room the next attempt is after 1 s (RFC 6298, 2.1).  A slow server does not matter."""

SILENT = {Level.POOL: 1, Level.CONCURRENT: WAITING}
"""Clients that say nothing, by level: a wait for each of them is too long for all together."""

TOGETHER = 32
"""Clients at the same time: more than a pool of workers has."""

BUSY = 16
"""Clients of them that then have much on its way: it is a MiB together."""

MUCH = 65536
"""Bytes: the pipes to a process behind a server hold as much, which may write before it reads."""

OTHERS = b"~" * (LINE - 1) + b"\n"
"""A line whose bytes are in no other."""

CROWD = 300
"""Idle clients, all of which have been served: more than a server does by hand."""

MESSAGES = 64
"""Of the busy client beside them."""

ONE_AFTER_THE_OTHER = 2000
"""Connections: twice as many as a process may by default have open descriptors."""

MINUTE = 60.0
"""Seconds for them: a process for each takes 2 ms, and ten times that on a busy machine."""

SPEAKING_TLS = 10
"""Over TLS one in so many shakes hands, which takes milliseconds of both sides' time;
the others come and go."""


@check("UNP vol. 1, 4.6")
def one_after_another(subject: Subject) -> None:
    """When a client has gone, the next one is served."""
    for number in range(5):
        subject.answers(b"client %d\n" % number)


@check("listen(2)")
def queue(subject: Subject) -> None:
    """Clients that come while another one is served wait for their turn, and get it."""
    with subject.connect() as first:
        first.say(b"first\n")
        first.hear(b"first\n", last=True)
        waiting = [subject.knock(subject.lengthened(QUEUED)) for _ in range(WAITING)]
    for sock in waiting:
        sock.close()
    subject.serves()


@check(UNP_DESIGNS, seconds=MINUTE)
def churn(subject: Subject) -> None:
    """2 000 connections one after the other are all served."""
    tls = subject.target.transport == "tls"
    for number in range(ONE_AFTER_THE_OTHER):
        if tls and number % SPEAKING_TLS:
            _come_and_go(subject)
        else:
            subject.answers(b"client %d\n" % number)


@check(UNP_DESIGNS, level=Level.POOL)
def two_together(subject: Subject) -> None:
    """Two clients at the same time each get their own bytes back."""
    _together(subject, 2)


@check(UNP_DESIGNS, level=Level.CONCURRENT)
def many_together(subject: Subject) -> None:
    """32 clients at the same time each get their own bytes back."""
    _together(subject, TOGETHER)


@check(CSAPP_CONCURRENCY, level=Level.POOL)
def silent(subject: Subject) -> None:
    """Clients that say nothing do not keep another one waiting."""
    for _ in range(SILENT[subject.level]):
        subject.connect()
    subject.serves()


@check(CSAPP_CONCURRENCY, level=Level.POOL)
def half_a_line(subject: Subject) -> None:
    """A client that has sent half a line does not keep another one waiting."""
    subject.connect().say(b"half a li")
    subject.serves()


@check(CSAPP_CONCURRENCY, level=Level.POOL)
def never_reads(subject: Subject) -> None:
    """A client that does not read keeps nobody waiting, and gets nothing of theirs when it does."""
    peer = subject.connect()
    peer.stuff(16 * MIB, STALL)
    subject.serves()
    # One buffer for all, in the middle of an answer: now it has another client's bytes.
    exchange({subject.connect(): OTHERS * (MUCH // LINE)}, subject.patience)
    for data in peer.rest():
        if (where := data.find(OTHERS[:1])) >= 0:
            raise CheckFailed(
                "a client to get what it has sent",
                f"what another one has: {shown(data[where:])}",
            )


@check("The C10K problem", level=Level.CONCURRENT)
def crowd(subject: Subject) -> None:
    """Beside 300 clients that have been served and stay, others are served, again and again."""
    busy = None
    with contextlib.suppress(CheckSkipped):  # a server may answer one message of each
        busy = subject.dialogue()
    for number in range(CROWD):
        subject.connect().ask(b"client %d stays\n" % number)
    subject.serves()
    if busy is None:
        return
    for number in range(MESSAGES):
        busy.say(b"message %d of a busy client\n" % number)
        busy.hear(b"message %d of a busy client\n" % number)


def _come_and_go(subject: Subject) -> None:
    try:
        with subject.knock(max(subject.patience, KNOCK_AGAIN)) as sock:
            sock.shutdown(socket.SHUT_WR)
            sock.recv(100)  # the end, or an alert before it
    except TimeoutError:
        raise CheckFailed("the end of a connection that ends", "none") from None
    except ConnectionError:
        return  # an end as well


def _together(subject: Subject, count: int) -> None:
    # A server with one buffer for all puts the halves of different clients together.
    peers: list[Peer] = []
    for number in range(count):
        peers.append(subject.connect())
        peers[-1].say(b"<%03d-" % number)
        if number % WAITING == WAITING - 1:
            peers[-1].pause(PAUSE)  # who finds the queue full comes again after a second only
    peers[0].pause(PAUSE)
    for number, peer in enumerate(peers):
        peer.say(b"-%03d>\n" % number)
    for number, peer in enumerate(peers):
        heard = peer.hear(b"-%03d>\n" % number, last=True)
        if b"<%03d-" % number not in heard:
            raise CheckFailed(f"both halves of what client {number} has sent", shown(heard))
        _own(number, heard)
    _own(0, peers[0].overhear(PAUSE))
    if not any(peer.has_ended for peer in peers):
        _much_together(subject, peers[:BUSY])


def _much_together(subject: Subject, peers: list[Peer]) -> None:
    # A server with one buffer for all overwrites what another client is to get.
    messages = {peer: _own_lines(number) for number, peer in enumerate(peers)}
    came = exchange(messages, subject.patience)
    wrong = [peer for peer in peers if came[peer] != messages[peer]]
    for peer in wrong:
        _own(peers.index(peer), came[peer])
    if wrong:  # with its own bytes alone, but not all of them: is that so without the others?
        message, got = messages[wrong[0]], came[wrong[0]]
        alone = subject.connect()
        if exchange({alone: message}, subject.patience)[alone] == message:
            raise difference(message, got, 0)


@functools.cache
def _own_lines(number: int) -> bytes:
    """Much of client *number*: lines that each say so at both ends."""
    return b"".join(b"<%03d-%053d-%03d>\n" % (number, line, number) for line in range(MUCH // LINE))


def _own(number: int, heard: bytes) -> None:
    for found in re.finditer(rb"<(\d{3})-|-(\d{3})>", heard):
        if int(found[1] or found[2]) != number:
            raise CheckFailed(
                f"client {number} to get what it has sent",
                f"what another one has: {shown(heard[found.start() :])}",
            )

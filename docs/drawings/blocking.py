"""The designs that block: one client after the other, threads, processes; TLS and raw IP."""

from cast import INSIDE, begin, drawing
from svg import SERVER_END, SERVER_X, Drawing, row_y

from echoservers.palette import STYLES


@drawing("key")
def _key() -> Drawing:
    says = (
        "Clients at the left, a silent one with a dashed edge; the kernel, with sockets and a"
        " queue; a process is a thick box, a thread a round bar, a coroutine a dashed bar, a loop"
        " a circle, a lock a padlock; a dashed arrow is accept, a solid double one a connection."
    )
    d = Drawing("How to read the drawings", says, STYLES["threading"].color, 4)
    d.kernel()
    d.client(0)
    d.connection(0, INSIDE)
    d.client(1, silent=True)
    d.connection(1, INSIDE)
    d.client(2)
    d.client(3)
    d.backlog(2, 3)
    d.process(SERVER_X, -0.45, SERVER_END, 3.45)
    d.worker(INSIDE, 0, INSIDE + 150, "thread")
    d.worker(INSIDE, 1, INSIDE + 150, "coroutine", soft=True)
    d.worker(INSIDE, 2, INSIDE + 150, "accepts")
    d.accept(2, INSIDE)
    d.note(INSIDE, row_y(3) - 2, "double arrow: a connection")
    d.note(INSIDE, row_y(3) + 13, "dashed arrow: accept")
    d.loop(510, 1, "loop")
    d.lock(610, row_y(0.6))
    d.note(632, row_y(0.6) + 6, "lock")
    for slot, name in enumerate("AB"):
        d.slot(592 + 34 * slot, row_y(2) - 14, name)
    d.note(592, row_y(2) + 30, "queue")
    return d


@drawing("iterative")
def _iterative() -> Drawing:
    says = "One process with one thread serves A. B, C and D wait in the backlog until A has gone."
    d = begin("iterative", "Iterative: one client after the other", says)
    d.backlog(1, 2, 3)
    d.process(SERVER_X, -0.45, SERVER_END, 3.45)
    d.worker(INSIDE, 0, 440, "main thread serves A")
    d.connection(0, INSIDE)
    d.arrow((146, row_y(1)), (359, row_y(1)), (359, row_y(0) + 16), dashed=True)
    d.note(372, row_y(1) + 4, "accepts B when A has gone, not before")
    return d


def _starts_each(d: Drawing, x: float, words: str, tip: float) -> None:
    """Who accepts, below, starts those who serve A, B and C: arrows from *x* to *tip*."""
    d.accept(3, INSIDE)
    d.arrow((430, row_y(3)), (x, row_y(3)), (x, row_y(0)), (tip, row_y(0)))
    d.arrow((x, row_y(1)), (tip, row_y(1)))
    d.arrow((x, row_y(2)), (tip, row_y(2)))
    d.note(450, row_y(3) - 6, words)


@drawing("threading")
def _threading() -> Drawing:
    says = "The main thread accepts and starts a thread for each of A, B and C; D comes next."
    d = begin("threading", "Threading: a thread for each connection", says)
    d.process(SERVER_X, -0.45, SERVER_END, 3.45)
    d.backlog(3)
    for row, name in enumerate("ABC"):
        d.connection(row, 390)
        d.worker(390, row, 620, f"thread serves {name}" if name != "B" else "thread waits for B")
    d.worker(INSIDE, 3, 430, "main thread accepts")
    _starts_each(d, 650, "starts a thread for each", tip=622)
    return d


@drawing("forking")
def _forking() -> Drawing:
    says = (
        "The parent process accepts and forks a child for each of A, B and C; it reaps the"
        " children when they end."
    )
    d = begin("forking", "Forking: a process for each connection", says)
    d.backlog(3)
    for row, name in enumerate("ABC"):
        d.process(380, row - 0.4, 612, row + 0.4, "")
        d.connection(row, 394)
        d.worker(394, row, 598, f"child serves {name}" if name != "B" else "child waits for B")
    d.process(SERVER_X, 2.6, SERVER_END, 3.45, "")
    d.note(SERVER_X + 2, row_y(2.6) - 5, "parent")
    d.worker(INSIDE, 3, 430, "accepts, reaps")
    _starts_each(d, 660, "forks a child for each", tip=614)
    return d


@drawing("thread-pool")
def _thread_pool() -> Drawing:
    says = (
        "Two threads of the pool are taken by A and B. The main thread has accepted C, which"
        " waits in a bounded queue. D waits in the backlog."
    )
    d = begin("thread-pool", "Thread pool: accepted connections wait in a queue", says)
    d.process(SERVER_X, -0.45, SERVER_END, 3.45)
    d.backlog(3)
    d.connection(0, 400)
    d.worker(400, 0, 600, "pool thread serves A")
    d.connection(1, 400)
    d.worker(400, 1, 600, "pool thread waits for B")
    d.connection(2, 460)
    for number, name in enumerate(("C", "", "")):
        d.slot(460 + 34 * number, row_y(2) - 14, name)
    d.note(460, row_y(2) + 30, "bounded queue")
    d.arrow((562, row_y(2)), (650, row_y(2)), (650, row_y(0)), (602, row_y(0)))
    d.arrow((650, row_y(1)), (602, row_y(1)))
    d.note(576, row_y(2) - 6, "next free")
    d.worker(INSIDE, 3, 430, "main thread accepts")
    d.accept(3, INSIDE)
    d.arrow((430, row_y(3)), (445, row_y(3)), (445, row_y(2) + 7), (458, row_y(2) + 7))
    return d


@drawing("prethreading")
def _prethreading() -> Drawing:
    says = (
        "Two threads serve A and B. The third has the lock and waits to accept; the fourth waits"
        " for the lock."
    )
    d = begin("prethreading", "Prethreading: every thread accepts, under a lock", says)
    d.process(SERVER_X, -0.45, SERVER_END, 3.45)
    d.backlog(2, 3)
    d.connection(0, 330)
    d.worker(330, 0, 560, "thread serves A")
    d.connection(1, 330)
    d.worker(330, 1, 560, "thread waits for B")
    d.accept(2, 330)
    d.worker(330, 2, 560, "has the lock: accepts C")
    d.lock(590, row_y(2) + 2)
    d.worker(330, 3, 560, "waits for the lock")
    d.arrow((560, row_y(3)), (590, row_y(3)), (590, row_y(2) + 18), dashed=True)
    return d


@drawing("tls")
def _tls() -> Drawing:
    says = (
        "The accept loop hands the connection over before the handshake. A is past it, B never says"
        " a ClientHello and holds up its own thread only, until the handshake limit."
    )
    d = begin("threading", "TLS: the handshake is the worker's", says)
    d.process(SERVER_X, -0.45, SERVER_END, 3.45)
    d.backlog(3)
    for row, words in enumerate(("messages of A", "", "messages of C")):
        d.connection(row, 330)
        d.worker(330, row, 470, "handshake" if words else "handshake ...")
        if words:
            d.arrow((470, row_y(row)), (508, row_y(row)))
            d.worker(508, row, 660, words)
    d.note(486, row_y(1) + 4, "closed after handshake_timeout")
    d.worker(330, 3, 470, "accepts")
    d.accept(3, 330)
    return d


@drawing("raw")
def _raw() -> Drawing:
    says = (
        "Datagrams of IP protocol 253 reach every raw socket that asked for the protocol: there are"
        " no ports. A reply goes back with less time to live."
    )
    d = Drawing("Raw IP: no ports, everybody hears everything", says, STYLES["iterative"].color, 3)
    d.kernel()
    d.client(0)
    d.client(1)
    d.box(112, 0.5, 204, "protocol\n253", 50)
    d.arrow((57, row_y(0)), (110, row_y(0) + 4), both=True)
    d.arrow((57, row_y(1)), (110, row_y(1) - 4), both=True)
    d.process(SERVER_X + 40, -0.42, SERVER_END, 0.42, "")
    d.worker(340, 0, 660, "server: answers, with less time to live")
    d.arrow((204, row_y(0) + 8), (338, row_y(0)), both=True)
    d.process(SERVER_X + 40, 0.98, SERVER_END, 1.82, "")
    d.worker(340, 1.4, 660, "any other raw socket hears it, too")
    d.arrow((204, row_y(1) - 4), (338, row_y(1.4)))
    return d

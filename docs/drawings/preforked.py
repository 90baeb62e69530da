"""Processes that are forked before anybody connects, and who of them accepts."""

from cast import begin, drawing
from svg import SERVER_END, SERVER_X, Drawing, row_y

from echoservers.palette import STYLES


def _workers(d: Drawing, words: tuple[str, ...], left: float = 400) -> None:
    """A process for each worker, one a row, and the master below."""
    for row, what in enumerate(words):
        d.process(left, row - 0.4, 660, row + 0.4, "")
        d.worker(left + 14, row, 646, what)
    d.note(left, 47, "worker processes")


def _two_are_taken(d: Drawing, words: tuple[str, ...]) -> None:
    """Four workers; the first has A, the second B, and the third accepts C."""
    d.backlog(2, 3)
    d.connection(0, 414)
    d.connection(1, 414)
    _workers(d, words)
    d.accept(2, 414)


def _master(d: Drawing, words: str, left: float = 400) -> None:
    d.process(left, 3.6, 660, 4.4, "")
    d.write((left + 660) / 2, row_y(4) + 4, words, anchor="middle", size=11)


@drawing("prefork-shared")
def _shared() -> Drawing:
    says = (
        "The master has forked four workers that share one listener. Two are taken by A and B;"
        " the other two both wait at the listener, and whoever is first accepts C."
    )
    d = begin("prefork", "Prefork, accept=shared: whoever is first", says, 5)
    _two_are_taken(d, ("serves A", "waits for B", "accepts", "accepts"))
    d.accept(3, 414)
    d.note(232, row_y(2) + 26, "both are woken; one wins")
    _master(d, "master: forks and watches")
    return d


@drawing("prefork-flock")
def _flock() -> Drawing:
    says = (
        "As shared, but around each accept a worker takes a lock on a file; who does not get it"
        " lets the other one accept."
    )
    d = begin("prefork", "Prefork, accept=flock: a file lock around accept", says, 5)
    _two_are_taken(d, ("serves A", "waits for B", "locked: accepts C", "lock is taken: again"))
    d.lock(300, row_y(3) - 2)
    d.note(300, row_y(3) + 28, "lock on a file", "middle")
    d.arrow((400, row_y(2) + 9), (300, row_y(2) + 9), (300, row_y(3) - 18))
    d.arrow((400, row_y(3)), (316, row_y(3)), dashed=True)
    _master(d, "master: forks and watches")
    return d


@drawing("prefork-mutex")
def _mutex() -> Drawing:
    says = (
        "There is one token. The worker that has it waits at the listener, the other one waits"
        " for the token; so a new client wakes one worker."
    )
    d = begin("prefork", "Prefork, accept=mutex: one token", says, 5)
    _two_are_taken(d, ("serves A", "waits for B", "has the token: accepts", "waits for the token"))
    d.add("circle", cx=300, cy=row_y(3), r=11, fill=d.color, stroke="#222222", stroke_width=1.5)
    d.note(300, row_y(3) + 28, "token (eventfd)", "middle")
    d.arrow((312, row_y(3) - 8), (340, row_y(2) + 14), (400, row_y(2) + 9))
    d.arrow((400, row_y(3)), (314, row_y(3)), dashed=True)
    _master(d, "master: forks and watches")
    return d


@drawing("prefork-handoff")
def _handoff() -> Drawing:
    says = (
        "The master accepts and passes each connection to the worker with the least to do,"
        " as a descriptor over a Unix socket."
    )
    d = begin("prefork", "Prefork, accept=handoff: descriptors are passed", says, 5)
    d.backlog(3)
    d.connection(0, 414)
    d.connection(1, 414)
    d.connection(2, 414)
    _workers(d, ("serves A", "waits for B", "is handed C", "idle"))
    d.process(300, 3.6, 660, 4.4, "")
    d.worker(314, 4, 646, "master accepts, passes descriptors")
    d.accept(3, 314, 4)
    d.arrow((660, row_y(4)), (684, row_y(4)), (684, row_y(2)), (662, row_y(2)))
    d.arrow((684, row_y(3)), (662, row_y(3)), dashed=True)
    d.note(386, row_y(3.42), "to the least busy one", "end")
    return d


@drawing("prefork-reuseport")
def _reuseport() -> Drawing:
    says = (
        "Each worker has a listener of its own on the same port; the kernel chooses one by a hash"
        " of the addresses. D was given to the listener of the worker that waits for B, and waits"
        " although another worker is idle."
    )
    d = begin("prefork", "Prefork, accept=reuseport: a listener for each", says, 5, 246)
    d.connection(0, 414)
    d.connection(1, 414)
    for row in range(4):
        d.slot(296, row_y(row) - 20, {1: "D", 2: "C"}.get(row, ""), 17)
        d.arrow((331, row_y(row) - 11), (398, row_y(row) - 11), dashed=True)
    d.note(290, row_y(0) - 8, "listeners", "end")
    _workers(d, ("serves A", "waits for B", "accepts C", "idle"))
    d.line((55, row_y(2)), (112, row_y(2)))
    d.line((55, row_y(3)), (112, row_y(3)))
    d.box(112, 2.5, 190, "hash of\naddresses\nand ports", 62)
    d.arrow((190, row_y(2.7)), (270, row_y(2.7)), (270, row_y(2) - 11), (294, row_y(2) - 11))
    d.arrow((190, row_y(2.3)), (240, row_y(2.3)), (240, row_y(1) - 11), (294, row_y(1) - 11))
    d.note(223, row_y(4) - 12, "D waits for B to go,", "middle")
    d.note(223, row_y(4) + 4, "though a worker is idle", "middle")
    _master(d, "master: keeps the listeners open")
    return d


@drawing("prefork-epoll")
def _prefork_epoll() -> Drawing:
    says = "Two worker processes, each with one loop: A and B in the first, C in the second."
    d = begin("prefork", "Prefork over epoll: a loop in each process", says)
    d.backlog(3)
    d.process(400, -0.45, SERVER_END, 1.42, "")
    d.process(400, 1.62, SERVER_END, 3.45, "")
    d.note(400, 46, "worker processes, one a CPU")
    d.connection(0, 470)
    d.connection(1, 470)
    d.connection(2, 470)
    d.color = STYLES["epoll"].color
    d.loop(510, 0.48, "epoll", 34)
    d.loop(510, 2.52, "epoll", 34)
    d.accept(3, 470)
    d.arrow(
        (SERVER_X + 60, row_y(3)), (SERVER_X + 60, row_y(1.25)), (476, row_y(1.25)), dashed=True
    )
    d.note(564, row_y(0.5) + 4, "serves A and B")
    d.note(564, row_y(2.5) + 4, "serves C, accepts D")
    return d


@drawing("prefork-threading")
def _prefork_threading() -> Drawing:
    says = "Two worker processes, each of which starts a thread for each connection."
    d = begin("prefork", "Prefork over threading: threads in each process", says)
    d.backlog(3)
    d.process(400, -0.45, SERVER_END, 1.42, "")
    d.process(400, 1.62, SERVER_END, 3.45, "")
    d.note(400, 46, "worker processes, one a CPU")
    d.color = STYLES["threading"].color
    for row, words in enumerate(("thread serves A", "thread waits for B", "thread serves C")):
        d.connection(row, 420)
        d.worker(420, row, 590, words)
    d.worker(420, 3, 590, "accepts, starts")
    d.accept(3, 420)
    d.arrow((590, row_y(3)), (620, row_y(3)), (620, row_y(2)), (592, row_y(2)))
    return d

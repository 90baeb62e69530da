"""What is drawn: one function a design, all with the same four clients.

A asks and is answered all the time, B is connected and silent, C asks too, D comes last.
"""

from collections.abc import Callable

from svg import KERNEL_W, SERVER_END, SERVER_X, Drawing, row_y

from echoservers.palette import STYLES

__all__ = ["DRAWINGS"]

INSIDE = SERVER_X + 22
"""Where the things in a process begin."""

DRAWINGS: dict[str, Callable[[], Drawing]] = {}
"""By the name of the file, without its end."""


def _drawing(name: str) -> Callable[[Callable[[], Drawing]], Callable[[], Drawing]]:
    def keep(function: Callable[[], Drawing]) -> Callable[[], Drawing]:
        DRAWINGS[name] = function
        return function

    return keep


def _begin(
    model: str, title: str, says: str, rows: int = 4, kernel_width: float = KERNEL_W
) -> Drawing:
    d = Drawing(title, says, STYLES[model].color, rows)
    d.kernel(kernel_width)
    for row, name in enumerate("ABCD"):
        d.client(row, name, silent=name == "B")
    return d


@_drawing("key")
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


@_drawing("iterative")
def _iterative() -> Drawing:
    says = "One process with one thread serves A. B, C and D wait in the backlog until A has gone."
    d = _begin("iterative", "Iterative: one client after the other", says)
    d.backlog(1, 2, 3)
    d.process(SERVER_X, -0.45, SERVER_END, 3.45)
    d.worker(INSIDE, 0, 440, "main thread serves A")
    d.connection(0, INSIDE)
    d.arrow((146, row_y(1)), (359, row_y(1)), (359, row_y(0) + 16), dashed=True)
    d.note(372, row_y(1) + 4, "accepts B when A has gone, not before")
    return d


@_drawing("threading")
def _threading() -> Drawing:
    says = "The main thread accepts and starts a thread for each of A, B and C; D comes next."
    d = _begin("threading", "Threading: a thread for each connection", says)
    d.process(SERVER_X, -0.45, SERVER_END, 3.45)
    d.backlog(3)
    for row, name in enumerate("ABC"):
        d.connection(row, 390)
        d.worker(390, row, 620, f"thread serves {name}" if name != "B" else "thread waits for B")
    d.worker(INSIDE, 3, 430, "main thread accepts")
    d.accept(3, INSIDE)
    d.arrow((430, row_y(3)), (650, row_y(3)), (650, row_y(0)), (622, row_y(0)))
    d.arrow((650, row_y(1)), (622, row_y(1)))
    d.arrow((650, row_y(2)), (622, row_y(2)))
    d.note(450, row_y(3) - 6, "starts a thread for each")
    return d


@_drawing("forking")
def _forking() -> Drawing:
    says = (
        "The parent process accepts and forks a child for each of A, B and C; it reaps the"
        " children when they end."
    )
    d = _begin("forking", "Forking: a process for each connection", says)
    d.backlog(3)
    for row, name in enumerate("ABC"):
        d.process(380, row - 0.4, 612, row + 0.4, "")
        d.connection(row, 394)
        d.worker(394, row, 598, f"child serves {name}" if name != "B" else "child waits for B")
    d.process(SERVER_X, 2.6, SERVER_END, 3.45, "")
    d.note(SERVER_X + 2, row_y(2.6) - 5, "parent")
    d.worker(INSIDE, 3, 430, "accepts, reaps")
    d.accept(3, INSIDE)
    d.arrow((430, row_y(3)), (660, row_y(3)), (660, row_y(0)), (614, row_y(0)))
    d.arrow((660, row_y(1)), (614, row_y(1)))
    d.arrow((660, row_y(2)), (614, row_y(2)))
    d.note(450, row_y(3) - 6, "forks a child for each")
    return d


@_drawing("thread-pool")
def _thread_pool() -> Drawing:
    says = (
        "Two threads of the pool are taken by A and B. The main thread has accepted C, which"
        " waits in a bounded queue. D waits in the backlog."
    )
    d = _begin("thread-pool", "Thread pool: accepted connections wait in a queue", says)
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


@_drawing("prethreading")
def _prethreading() -> Drawing:
    says = (
        "Two threads serve A and B. The third has the lock and waits to accept; the fourth waits"
        " for the lock."
    )
    d = _begin("prethreading", "Prethreading: every thread accepts, under a lock", says)
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


def _workers(d: Drawing, words: tuple[str, ...], left: float = 400) -> None:
    """A process for each worker, one a row, and the master below."""
    for row, what in enumerate(words):
        d.process(left, row - 0.4, 660, row + 0.4, "")
        d.worker(left + 14, row, 646, what)
    d.note(left, 47, "worker processes")


def _master(d: Drawing, words: str, left: float = 400) -> None:
    d.process(left, 3.6, 660, 4.4, "")
    d.write((left + 660) / 2, row_y(4) + 4, words, anchor="middle", size=11)


@_drawing("prefork-shared")
def _shared() -> Drawing:
    says = (
        "The master has forked four workers that share one listener. Two are taken by A and B;"
        " the other two both wait at the listener, and whoever is first accepts C."
    )
    d = _begin("prefork", "Prefork, accept=shared: whoever is first", says, 5)
    d.backlog(2, 3)
    d.connection(0, 414)
    d.connection(1, 414)
    _workers(d, ("serves A", "waits for B", "accepts", "accepts"))
    d.accept(2, 414)
    d.accept(3, 414)
    d.note(232, row_y(2) + 26, "both are woken; one wins")
    _master(d, "master: forks and watches")
    return d


@_drawing("prefork-flock")
def _flock() -> Drawing:
    says = (
        "As shared, but around each accept a worker takes a lock on a file; who does not get it"
        " lets the other one accept."
    )
    d = _begin("prefork", "Prefork, accept=flock: a file lock around accept", says, 5)
    d.backlog(2, 3)
    d.connection(0, 414)
    d.connection(1, 414)
    _workers(d, ("serves A", "waits for B", "locked: accepts C", "lock is taken: again"))
    d.accept(2, 414)
    d.lock(300, row_y(3) - 2)
    d.note(300, row_y(3) + 28, "lock on a file", "middle")
    d.arrow((400, row_y(2) + 9), (300, row_y(2) + 9), (300, row_y(3) - 18))
    d.arrow((400, row_y(3)), (316, row_y(3)), dashed=True)
    _master(d, "master: forks and watches")
    return d


@_drawing("prefork-mutex")
def _mutex() -> Drawing:
    says = (
        "There is one token. The worker that has it waits at the listener, the other one waits"
        " for the token; so a new client wakes one worker."
    )
    d = _begin("prefork", "Prefork, accept=mutex: one token", says, 5)
    d.backlog(2, 3)
    d.connection(0, 414)
    d.connection(1, 414)
    _workers(d, ("serves A", "waits for B", "has the token: accepts", "waits for the token"))
    d.accept(2, 414)
    d.add("circle", cx=300, cy=row_y(3), r=11, fill=d.color, stroke="#222222", stroke_width=1.5)
    d.note(300, row_y(3) + 28, "token (eventfd)", "middle")
    d.arrow((312, row_y(3) - 8), (340, row_y(2) + 14), (400, row_y(2) + 9))
    d.arrow((400, row_y(3)), (314, row_y(3)), dashed=True)
    _master(d, "master: forks and watches")
    return d


@_drawing("prefork-handoff")
def _handoff() -> Drawing:
    says = (
        "The master accepts and passes each connection to the worker with the least to do,"
        " as a descriptor over a Unix socket."
    )
    d = _begin("prefork", "Prefork, accept=handoff: descriptors are passed", says, 5)
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


@_drawing("prefork-reuseport")
def _reuseport() -> Drawing:
    says = (
        "Each worker has a listener of its own on the same port; the kernel chooses one by a hash"
        " of the addresses. D was given to the listener of the worker that waits for B, and waits"
        " although another worker is idle."
    )
    d = _begin("prefork", "Prefork, accept=reuseport: a listener for each", says, 5, 246)
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


@_drawing("prefork-epoll")
def _prefork_epoll() -> Drawing:
    says = "Two worker processes, each with one loop: A and B in the first, C in the second."
    d = _begin("prefork", "Prefork over epoll: a loop in each process", says)
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


@_drawing("prefork-threading")
def _prefork_threading() -> Drawing:
    says = "Two worker processes, each of which starts a thread for each connection."
    d = _begin("prefork", "Prefork over threading: threads in each process", says)
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


def _reactor(name: str, title: str, says: str, kept: str, asks: str, told: str) -> Drawing:
    d = _begin(name, title, says)
    d.process(SERVER_X, -0.45, SERVER_END, 3.45)
    d.backlog(3)
    for row in range(3):
        d.connection(row, 330, 1.5)
    d.accept(3, 330, 1.5)
    d.loop(380, 1.5, "wait,\nserve", 46)
    d.note(380, row_y(3) + 4, "one thread", "middle")
    in_kernel = name in ("epoll", "kqueue")
    d.box(520, 1.5, 690, kept, 50)
    d.note(
        605, row_y(1.5) - 34, "kept in the kernel" if in_kernel else "kept in the process", "middle"
    )
    d.arrow((432, row_y(1.5) - 10), (518, row_y(1.5) - 10))
    d.arrow((518, row_y(1.5) + 12), (432, row_y(1.5) + 12))
    d.note(605, row_y(2.4) + 4, asks, "middle")
    d.note(605, row_y(2.4) + 20, told, "middle")
    return d


@_drawing("select")
def _select() -> Drawing:
    return _reactor(
        "select",
        "Select: one loop, three sets of bits",
        "One thread waits for all connections and the listener with select: each time it hands the"
        " kernel sets of 1 024 bits, and gets back which are ready.",
        "3 sets of 1 024 bits:\nlistener, A, B, C",
        "each wait: all of them in,",
        "all of them out, changed",
    )


@_drawing("poll")
def _poll() -> Drawing:
    return _reactor(
        "poll",
        "Poll: one loop, one list",
        "One thread waits for all connections and the listener with poll: each time it hands the"
        " kernel a list of all descriptors, of any length.",
        "list of any length:\nlistener, A, B, C",
        "each wait: the whole list in,",
        "with what is ready marked in it",
    )


@_drawing("epoll")
def _epoll() -> Drawing:
    return _reactor(
        "epoll",
        "Epoll: one loop, and the kernel keeps the list",
        "One thread waits with epoll: the kernel keeps the list of descriptors, and a wait returns"
        " only those that are ready: A and C, not the silent B.",
        "interest: listener, A, B, C\nready: A, C",
        "a new connection: one call;",
        "each wait: out come A and C only",
    )


@_drawing("kqueue")
def _kqueue() -> Drawing:
    return _reactor(
        "kqueue",
        "Kqueue: one loop, and the kernel keeps the filters",
        "One thread waits with kqueue: the kernel keeps a filter for each descriptor, changes go in"
        " and events come out by the same call.",
        "filters: listener, A, B, C\nevents: A, C",
        "changes in, events out:",
        "one call, kevent(2), for both",
    )


def _coroutines(name: str, title: str, says: str, hub: str, words: tuple[str, str, str]) -> Drawing:
    d = _begin(name, title, says)
    d.process(SERVER_X, -0.45, SERVER_END, 3.45)
    d.backlog(3)
    d.loop(640, 1, hub, 46)
    for row, what in enumerate(words):
        d.connection(row, 330)
        d.worker(330, row, 540, what, soft=True)
        end = (591 if row == 1 else 604, row_y(1) + (row - 1) * 30)
        d.arrow((540, row_y(row)), end, both=row == 0)
    y = row_y(3)
    d.arrow((146, y), (640, y), (640, row_y(2) + 6), dashed=True)
    d.note(330, y - 8, "one thread; one of them runs at a time")
    return d


AWAITING = ("runs: answers A", "rests: awaits B", "rests: its turn is next")


@_drawing("asyncio")
def _asyncio() -> Drawing:
    says = (
        "One thread runs an event loop. Each connection has a protocol, or a coroutine that rests"
        " at await while the others run."
    )
    title = "Asyncio: coroutines on an event loop"
    return _coroutines("asyncio", title, says, "asyncio\n(Python)", AWAITING)


@_drawing("uvloop")
def _uvloop() -> Drawing:
    says = "As asyncio, but the event loop is libuv, in C: between wait and protocol is no Python."
    title = "Uvloop: the same coroutines on libuv"
    return _coroutines("uvloop", title, says, "libuv\n(C)", AWAITING)


@_drawing("gevent")
def _gevent() -> Drawing:
    says = (
        "One thread. Each connection has a greenlet, with a stack of its own, that reads as if it"
        " blocked; the hub switches to whoever can go on."
    )
    words = ("runs: answers A", "in recv(): waits for B", "in recv(): next to run")
    return _coroutines("gevent", "Gevent: greenlets on a hub", says, "hub\n(libev)", words)


@_drawing("tls")
def _tls() -> Drawing:
    says = (
        "The accept loop hands the connection over before the handshake. A is past it, B never says"
        " a ClientHello and holds up its own thread only, until the handshake limit."
    )
    d = _begin("threading", "TLS: the handshake is the worker's", says)
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


@_drawing("raw")
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

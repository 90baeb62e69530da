"""One thread for all clients: reactors and coroutines."""

from cast import begin, drawing
from svg import SERVER_END, SERVER_X, Drawing, row_y


def _reactor(name: str, title: str, says: str, kept: str, asks: str, told: str) -> Drawing:
    d = begin(name, title, says)
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


@drawing("select")
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


@drawing("poll")
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


@drawing("epoll")
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


@drawing("kqueue")
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
    d = begin(name, title, says)
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


@drawing("asyncio")
def _asyncio() -> Drawing:
    says = (
        "One thread runs an event loop. Each connection has a protocol, or a coroutine that rests"
        " at await while the others run."
    )
    title = "Asyncio: coroutines on an event loop"
    return _coroutines("asyncio", title, says, "asyncio\n(Python)", AWAITING)


@drawing("uvloop")
def _uvloop() -> Drawing:
    says = "As asyncio, but the event loop is libuv, in C: between wait and protocol is no Python."
    title = "Uvloop: the same coroutines on libuv"
    return _coroutines("uvloop", title, says, "libuv\n(C)", AWAITING)


@drawing("gevent")
def _gevent() -> Drawing:
    says = (
        "One thread. Each connection has a greenlet, with a stack of its own, that reads as if it"
        " blocked; the hub switches to whoever can go on."
    )
    words = ("runs: answers A", "in recv(): waits for B", "in recv(): next to run")
    return _coroutines("gevent", "Gevent: greenlets on a hub", says, "hub\n(libev)", words)

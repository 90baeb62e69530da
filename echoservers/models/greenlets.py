"""A greenlet for each client, in one thread: handlers that block, on sockets that switch.

The process is not monkey-patched.  What a handler reads and writes is a socket of gevent's,
made from the accepted one, so that ``handle()`` runs as it does in a thread; while it waits
the others run.  The descriptors of the server are watched by the same hub.

A hub, and what runs on it, belongs to one thread.  So the thread that serves ends its
greenlets too, before ``serve_forever()`` returns.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gevent
import gevent.hub
import gevent.socket
from gevent._hub_local import get_hub_if_exists

from ..activity import ActiveRequest
from ..counters import new_cells
from ..loop import Loop
from ..serving import ABORT_TIME, ServingMixIn
from ..transports import TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer
from ..waits import READABLE, WRITABLE

__all__ = [
    "GeventMixIn",
    "GeventTCPServer",
    "GeventUDPServer",
    "GeventUnixDatagramServer",
    "GeventUnixStreamServer",
]

_READ, _WRITE = 1, 2  # libev's


class HubWait:
    """A `echoservers.waits.Wait` that lets the greenlets of its thread run meanwhile.

    It takes the hub of the thread that waits, and makes one where there is none.
    """

    highest: int | None = None

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}
        self._watchers: dict[int, Any] = {}
        self._stopped: set[int] = set()
        self._ready: dict[int, int] = {}
        self._hub: Any = None
        self._made_hub = False
        self._waiter: Any = None

    def watch(self, descriptor: int, events: int) -> None:
        """See `Wait`."""
        self._stopped.discard(descriptor)
        watcher = self._watchers.pop(descriptor, None)
        if watcher is not None:
            watcher.close()
        if not events:
            self._wanted.pop(descriptor, None)
            return
        self._wanted[descriptor] = events
        if self._hub is not None:
            wanted = (_READ if events & READABLE else 0) | (_WRITE if events & WRITABLE else 0)
            self._watchers[descriptor] = watcher = self._hub.loop.io(descriptor, wanted)
            watcher.start(self._fired, descriptor, pass_events=True)

    def watch_shared(self, descriptor: int) -> None:
        """As `watch` for reading: libev wakes every process."""
        self.watch(descriptor, READABLE)

    def enter(self) -> None:
        """Take the hub of this thread; it stays ours until `leave`."""
        if self._hub is not None:
            return
        self._hub = get_hub_if_exists()
        self._made_hub = self._hub is None
        if self._made_hub:
            # Not the default loop, whose descriptors nothing ever closes.
            self._hub = gevent.hub.Hub(default=False)
            self._hub.NOT_ERROR = (*self._hub.NOT_ERROR, KeyboardInterrupt)  # it gets to main
            gevent.hub.set_hub(self._hub)
        for descriptor, events in self._wanted.items():
            self.watch(descriptor, events)

    def leave(self) -> None:
        """Release the hub; in the thread that has entered."""
        hub, self._hub = self._hub, None
        for watcher in self._watchers.values():
            watcher.close()
        self._watchers.clear()
        self._stopped.clear()
        self._ready.clear()
        if hub is not None and self._made_hub:
            hub.destroy(destroy_loop=True)

    def wait(self, longest: float | None) -> Sequence[tuple[int, int]]:
        """See `Wait`."""
        self.enter()
        stopped, self._stopped = self._stopped, set()
        for descriptor in stopped:
            self.watch(descriptor, self._wanted[descriptor])
        if not self._ready:
            self._switch(longest)
        ready, self._ready = self._ready, {}
        return list(ready.items())

    def _switch(self, longest: float | None) -> None:
        self._waiter = waiter = gevent.hub.Waiter(self._hub)
        timer = None
        if longest is not None:
            timer = self._hub.loop.timer(longest)
            timer.start(waiter.switch, None, update=True)
        try:
            waiter.get()
        finally:
            self._waiter = None
            if timer is not None:
                timer.close()

    def _fired(self, events: int, descriptor: int) -> None:
        found = (READABLE if events & _READ else 0) | (WRITABLE if events & _WRITE else 0)
        self._ready[descriptor] = found
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter.switch(None)
        else:  # whoever serves waits for something else; do not tell it over and over
            self._watchers[descriptor].stop()
            self._stopped.add(descriptor)

    def close(self) -> None:
        """Nothing to release: `leave` has."""


class GreenSocket(gevent.socket.socket):  # type: ignore[misc]
    """A socket on which a greenlet waits, and only that one.

    Its methods ``limit_waits`` and ``pause`` stand for what a thread does in another way.
    """

    def shutdown(self, how: int) -> None:
        """As of a plain socket, from any thread: the kernel wakes who waits, with what is left."""
        self._sock.shutdown(how)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """As of a plain socket; the time limit is for each wait, not for all of them."""
        sent = self.send(data, flags)
        if sent < len(data):
            rest = memoryview(data)[sent:]
            while rest:
                rest = rest[self.send(rest, flags) :]

    def limit_waits(self, seconds: float | None) -> None:
        """See `echoservers.timeouts`."""
        self.settimeout(seconds)

    def pause(self, seconds: float) -> None:
        """Let the others run for *seconds*."""
        gevent.sleep(seconds)


class GeventMixIn(ServingMixIn):
    """Serve each request in a new greenlet; ``max_connections`` bounds the greenlets.

    Handlers may do their own I/O on ``self.request``.  What blocks in another way, without
    gevent, makes everybody wait.  When ``serve_forever()`` ends, by `shutdown` or by a
    drain, connections get ``drain_timeout`` to end as well, before it returns; `shutdown`
    does not wait for that.
    """

    #: Whether connections end with ``serve_forever()``; not where somebody else ends them.
    _ends_with_loop = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._made_by = os.getpid()
        self._running: dict[int, Any] = {}
        self._cutting = False
        self._ending = False
        self._accepting = threading.Lock()  # held while it does
        self._raised: BaseException | None = None
        super().__init__(*args, **kwargs)

    def _make_loop(self) -> Loop:
        if os.getpid() != self._made_by:
            # In a forked worker: what the hub of the parent watches is one with the parent's.
            # Kept, since to free it is to touch that.
            self._inherited_hub = get_hub_if_exists()
            gevent.hub.set_hub(None)
        self._hub_wait = HubWait()
        loop = Loop(self._hub_wait)
        loop.holds_interrupts = True
        return loop

    def get_request(self) -> tuple[Any, Any]:
        """As for every server; the connection is a socket of gevent's."""
        request, client_address = super().get_request()
        self._hub_wait.enter()  # before gevent makes a hub for us that we would not end
        if self.is_stream and not hasattr(request, "do_handshake"):
            request = self._green(request)
            request.settimeout(getattr(self, "inherited_timeout", None))
        return request, client_address

    def wrap_connection(self, connection: Any) -> Any:
        """For TLS: what a greenlet can wait on."""
        from ..tls_green import GreenTLSConnection  # imported late: it needs ssl

        return super().wrap_connection(connection, GreenTLSConnection)  # type: ignore[misc]

    def _green(self, accepted: Any) -> Any:
        """What a greenlet can wait on, in place of *accepted*."""
        family, kind, protocol = accepted.family, accepted.type, accepted.proto
        return GreenSocket(family, kind, protocol, fileno=accepted.detach())

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a greenlet that serves *request*."""
        record = self._activity.find(request)
        if record is not None:
            self._activity.count_in(record, new_cells())
        gevent.Greenlet(self.process_request_greenlet, request, client_address).start()

    def process_request_greenlet(self, request: Any, client_address: Any) -> None:
        """Serve *request*; the body of its greenlet."""
        self._running[id(request)] = gevent.getcurrent()
        record = self._activity.find(request)
        try:
            self.finish_request(request, client_address)
        except BaseException as error:
            if isinstance(error, gevent.GreenletExit) and record is not None and record.aborted:
                pass  # it was we who ended it
            elif self._contains(error):
                self.handle_error(request, client_address)
            else:
                self._raised = error
                self._loop.wake()
        finally:
            self._running.pop(id(request), None)
            self.shutdown_request(request)
            if record is not None:
                self._end(record)

    def abort_request(self, record: ActiveRequest) -> None:
        """Cut the connection; a greenlet that waits for something else is ended in the loop."""
        super().abort_request(record)
        self._cutting = True
        self._loop.wake()

    def _turn(self, longest: float | None) -> None:
        if self._cutting:
            self._cutting = False
            for record in self._activity.snapshot():
                if record.aborted and id(record.request) in self._running:
                    self._running[id(record.request)].kill(block=False)
        super()._turn(longest)
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised

    # --- the end --------------------------------------------------------------------

    def _wait_for_loop(self, deadline: float | None) -> bool:
        if deadline is not None or not self._ends_with_loop:
            return super()._wait_for_loop(deadline)
        with self._accepting:
            ending = self._ending
        return ending or super()._wait_for_loop(None)  # shutdown() waits for no connection

    @contextmanager
    def _serving(self) -> Iterator[None]:
        with super()._serving():
            accepting = self._accepting = threading.Lock()
            accepting.acquire()
            try:
                yield
            finally:
                self._listen(False)
                self._paused = False  # room that comes now is for nobody
                self._ending = self._ends_with_loop and len(self._activity) > 0
                accepting.release()
                if self._ends_with_loop:
                    if self._draining and self.is_stream:
                        self.close_listener()
                    self._end_greenlets()

    def _end(self, record: ActiveRequest) -> None:
        super()._end(record)
        if self._ending or self._serving_thread is None:
            self._loop.wake()

    def _end_greenlets(self) -> None:
        try:
            for record in self._activity.snapshot():
                self.half_close(record)
            if not self._wait_until_idle(time.monotonic() + self.drain_timeout):
                for record in self._activity.snapshot():
                    record.aborted = True
                    self.abort_request(record)
                self._wait_until_idle(time.monotonic() + ABORT_TIME)
        finally:
            self._ending = False
            self._hub_wait.leave()

    def _handle_request_noblock(self) -> None:
        super()._handle_request_noblock()
        if self._serving_thread is None:
            while len(self._activity):  # no loop is running that would serve it
                self._turn(None)
            self._hub_wait.leave()


class GeventTCPServer(GeventMixIn, TCPServer):
    """TCP, a greenlet for each connection."""


class GeventUDPServer(GeventMixIn, UDPServer):
    """UDP, a greenlet for each datagram."""


class GeventUnixStreamServer(GeventMixIn, UnixStreamServer):
    """Unix stream, a greenlet for each connection."""


class GeventUnixDatagramServer(GeventMixIn, UnixDatagramServer):
    """Unix datagram, a greenlet for each datagram."""

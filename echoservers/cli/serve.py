"""``echoservers [serve]``: make a server, say where it listens, serve until a signal."""

import errno
import os
import signal
import socket
import sys
import time
from typing import Any

from ..addresses import DEFAULT_HOST, DEFAULT_PORT, default_unix_path, parse_port
from ..catalogue import TRANSPORTS
from ..errors import EndpointError, HandlerNotSupported, OptionError
from ..framing import FRAMINGS
from ..handlers import HANDLERS, EchoHandler
from ..log import escape, logger
from ..options import options_of
from ..registry import Mode, create_server, find_handler, parse_mode_spec, server_class
from ..serving import ServingMixIn
from . import COMMANDS, DONE
from .arguments import Parser, add_option_flags, given_options
from .logs import place_of, set_up_logging

DEFAULT_MODE = "threading-tcp"

OURS = __name__.partition(".")[0] + "."
"""What the names of our own modules begin with."""


def run(arguments: list[str]) -> int:
    """Serve until SIGINT or SIGTERM has drained the server."""
    with StopSignals() as signals:
        chosen = _chosen_mode(arguments)
        mode, spelled = parse_mode_spec(chosen)
        cls = server_class(mode.name)
        options = options_of(cls)
        parser = _parser(mode, cls)
        given = parser.parse(arguments)
        others = given.handler not in HANDLERS or not cls.__module__.startswith(OURS)
        set_up_logging(given.verbose, given.log_format, others)
        handler = _handler(given.handler, given.framing)
        address = _address(mode, given.host, given.port, given.path)
        values: dict[str, Any] = {**spelled, **given_options(given, options)}
        try:
            server = create_server(mode.name, address, handler, **values)
        except OSError as error:
            raise _explained(error, address, mode.transport) from error
        with server:
            return _serve(server, signals)


def _serve(server: ServingMixIn, signals: "StopSignals") -> int:
    signals.watch_over(server)
    for line in server.announcement():
        logger.info("%s", line, extra={"event": "announcement"})
    if not signals.received:
        _say(f"{server.mode} listening on {escape(server.endpoint())}")
    server.serve_forever()  # told to stop already, it still serves who has connected before
    drained, aborted = server.drain(signals.time_left())
    logger.info(
        "drained %d connection%s, aborted %d",
        drained,
        "" if drained == 1 else "s",
        aborted,
        extra={"event": "drained", "drained": drained, "aborted": aborted},
    )
    return DONE


def _say(line: str) -> None:
    """Print *line*; nobody may be there to read it, and that is no reason not to serve."""
    try:
        print(line, flush=True)
    except OSError as error:
        sys.stdout = None  # else the interpreter tries again at its end, and complains
        logger.warning("cannot write to standard output: %s", error.strerror)


class StopSignals:
    """SIGINT and SIGTERM: the first drains, the second aborts, and so does the drain limit.

    Of a server that has workers SIGHUP replaces them, SIGTTIN adds one and SIGTTOU removes
    one, as with other preforking servers.
    """

    _OF_WORKERS = (
        (signal.SIGHUP, "reload"),
        (signal.SIGTTIN, "add_worker"),
        (signal.SIGTTOU, "remove_worker"),
    )

    def __init__(self) -> None:
        self._server: ServingMixIn | None = None
        self.received = 0
        self._deadline: float | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        for signum, handler in (
            (signal.SIGINT, self._stop),
            (signal.SIGTERM, self._stop),
            (signal.SIGALRM, self._time_is_over),
        ):
            self._before[signum] = signal.signal(signum, handler)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._server = None
        for signum, handler in self._before.items():
            # Once told to stop the program ends with 0: another signal must not kill it on
            # its way out, where the interpreter puts the default back for all but SIG_IGN.
            signal.signal(signum, signal.SIG_IGN if self.received else handler)

    def time_left(self) -> float | None:
        """Seconds until the drain is over; None when none has begun."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def watch_over(self, server: ServingMixIn) -> None:
        """Stop *server* from now on; at once, if a signal came while it was made."""
        self._server = server
        for signum, method in self._OF_WORKERS:
            change = getattr(server, method, None)
            if change is not None:
                self._before[signum] = signal.signal(signum, lambda *_, change=change: change())
        if self.received:
            self._stop_server()

    def _stop(self, signum: int, frame: object) -> None:
        self.received += 1
        self._stop_server()

    def _stop_server(self) -> None:
        if self._server is None:
            return  # it is being made
        if self._deadline is None:
            # The loop of an iterative server may be inside a handler: only a signal gets it out.
            limit = self._server.drain_timeout
            self._deadline = time.monotonic() + limit
            signal.setitimer(signal.ITIMER_REAL, max(limit, 0.001))
            self._server.start_drain()
        if self.received > 1:
            self._server.abort()

    def _time_is_over(self, signum: int, frame: object) -> None:
        if self._server is not None:
            self._server.abort()


def _chosen_mode(arguments: list[str]) -> str:
    """The mode has to be known before the other flags: each mode has its own."""
    parser = Parser("", add_help=False)
    parser.add_argument("--mode", default=DEFAULT_MODE)
    return str(parser.parse_known_args(arguments)[0].mode)


def _parser(mode: Mode, cls: type[ServingMixIn]) -> Parser:
    commands = "\n".join(f"  {name:8}{what}" for name, what in COMMANDS.items())
    parser = Parser(
        "",
        usage="echoservers [serve] [--mode MODE] [options]",
        description="Serve echo in one of the classic concurrency models.\n\n"
        f"commands:\n{commands}\n  (COMMAND --help tells more)",
        epilog="`echoservers modes` lists the modes.  A mode can carry its options:\n"
        "--mode threading-tcp:idle_timeout=5,max_connections=50",
    )
    add = parser.add_argument
    add("--mode", metavar="MODE", default=DEFAULT_MODE, help="default: %(default)s")
    add("--host", help=f"address to listen at (tcp, udp, tls, raw; default: {DEFAULT_HOST})")
    add("--port", help=f"port to listen at, 0: a free one (tcp, udp, tls; default: {DEFAULT_PORT})")
    add("--path", help="socket file to listen at (unix-stream, unix-datagram)")
    add(
        "--handler",
        default="echo",
        metavar="NAME",
        help=f"{', '.join(HANDLERS)}, or MODULE:CLASS (default: echo)",
    )
    add("--framing", choices=list(FRAMINGS), help="what a message is (default: the handler's)")
    add("-v", "--verbose", action="store_true", help="log connections and messages")
    add("--log-format", choices=["text", "json"], default="text", help="default: text")
    group = parser.add_argument_group(f"options of {mode.name}")
    add_option_flags(group, options_of(cls), cls)
    return parser


def _handler(name: str, framing: str | None) -> type:
    if ":" in name and "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does; the installed command does not
    try:
        handler = find_handler(name)
    except HandlerNotSupported as error:
        cause = error.__cause__
        if cause is None or isinstance(cause, (SyntaxError, ImportError, AttributeError)):
            raise  # the message says where, or there is no such place
        raise HandlerNotSupported(f"{error} ({place_of(cause)})") from cause
    if framing is None:
        return handler
    if not issubclass(handler, EchoHandler):
        raise HandlerNotSupported(f"--framing is for subclasses of EchoHandler, not {name}")
    return type(handler.__name__, (handler,), {"framing_class": FRAMINGS[framing]})


def _address(mode: Mode, host: str | None, port: str | None, path: str | None) -> Any:
    if mode.transport.startswith("unix"):
        if host is not None or port is not None:
            raise OptionError(f"{mode.name} listens at a --path, not at a --host and --port")
        return default_unix_path(mode.transport) if path is None else path
    has_port = TRANSPORTS[mode.transport].port
    if path is not None:
        where = "--host and --port" if has_port else "--host"
        raise OptionError(f"{mode.name} listens at a {where}, not at a --path")
    if port is not None and not has_port:
        raise OptionError(f"{mode.name} listens at a --host; raw IP has no --port")
    if host == "":  # the socket module means every address by it; a slip must not
        raise OptionError("--host is empty; expected an address (0.0.0.0 or :: for every one)")
    host = DEFAULT_HOST if host is None else host
    if not has_port:
        return host, 0
    return host, DEFAULT_PORT if port is None else parse_port(port)


def _explained(error: OSError, address: Any, transport: str) -> Exception:
    """What could not be had, and what to do instead."""
    if isinstance(error, socket.gaierror):
        return EndpointError(f"--host {address[0]}: {error.strerror}; give an address of this host")
    unix = isinstance(address, str)
    raw = transport == "raw"
    where = address if unix else f"{address[0]} port {address[1]}"
    if raw:
        where = address[0]
    advice = (_UNIX_ADVICE if unix else _ADVICE).get(error.errno or 0)
    reason = f"cannot listen on {where}: {error.strerror}"
    return OSError(error.errno, f"{reason}; {advice}" if advice else reason)


_ADVICE = {
    errno.EADDRINUSE: "choose another --port, or 0 for a free one",
    errno.EACCES: "ports below 1024 need a privilege; choose a higher --port",
    errno.EADDRNOTAVAIL: "this host does not have that address; try --host 127.0.0.1",
}
_UNIX_ADVICE = {
    errno.ENOENT: "make its folder first, or choose another --path",
    errno.ENOTDIR: "choose a --path in a folder",
    errno.EACCES: "choose a --path in a folder where you may write",
    errno.EROFS: "choose a --path in a folder where you may write",
}

"""``echoservers client ENDPOINT``: a prompt, a filter, or a round-trip meter."""

import argparse
import contextlib
import errno
import io
import itertools
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from ..addresses import DEFAULT_HOST, DEFAULT_PORT
from ..client import EchoClient
from ..errors import OptionError
from ..framing import FRAMINGS, Framing
from ..log import escape
from ..options import count, seconds
from . import DONE, FAILED
from .arguments import Parser, value_read_by
from .meter import measure

MAX_DATAGRAM = 65507
"""Bytes: what one UDP datagram can carry, so the longest line that is sent in one."""

PIECE = 65536
"""Bytes of standard input that are sent at a time."""

END_TIME = 1.0
"""Seconds that the end of our input may be behind the server's: it is on its way, or not."""

GREETING_TIME = 0.2
"""Seconds that the prompt waits for a greeting: a person does not notice it."""


def run(arguments: list[str]) -> int:
    """Talk to the server at the endpoint, in the way the flags and standard input ask for."""
    given = _parser().parse(arguments)
    if given.endpoint.startswith(("udp:", "raw:", "unix-datagram:")) and given.size > MAX_DATAGRAM:
        raise OptionError(f"--size: a datagram takes at most {MAX_DATAGRAM} bytes")
    measuring = given.count is not None or given.interval is not None
    filtering = not measuring and not _at_a_terminal()
    if filtering and given.framing == "lines":
        given.framing = "raw"  # through a filter lines go as they are
    options = {name: getattr(given, name) for name in _OPTIONS if hasattr(given, name)}
    with _Connection(given.endpoint, given.timeout, given.framing, options) as client:
        if measuring:
            return measure(client, given)
        if not filtering:
            return _prompt(client, given.framing)
        return (_filter_stream if client.is_stream else _filter_datagrams)(client, given.framing)


def _at_a_terminal() -> bool:
    """Whether a person types and reads; with either side redirected this is a filter."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _parser() -> Parser:
    parser = Parser(
        "client",
        usage="echoservers client ENDPOINT [options]",
        description="Send what you type to an echo server and show what comes back.\n"
        "With input piped in, send all of it and print everything that comes back.\n"
        "With --count or --interval, measure round trips, as ping does.",
        epilog=f"example: echoservers client tcp://{DEFAULT_HOST}:{DEFAULT_PORT}",
    )
    add = parser.add_argument
    add(
        "endpoint",
        metavar="ENDPOINT",
        help="tcp://HOST:PORT, udp://HOST:PORT, tls://HOST:PORT, raw://HOST, unix:///PATH"
        " or unix-datagram:///PATH",
    )
    add(
        "--framing",
        choices=list(FRAMINGS),
        default="raw",
        help="what a message is, as the server has it (default: raw)",
    )
    for flag, read, unit, default, meaning in (
        ("--timeout", seconds, "SECONDS", 5.0, "give up when nothing comes for so long"),
        ("--count", count, "N", None, "measure N round trips (default: until Ctrl-C)"),
        ("--interval", seconds, "SECONDS", None, "from one round trip to the next (default: 1)"),
        ("--size", count, "BYTES", 64, "of the message of a round trip"),
    ):
        shown = "" if default is None else f" (default: {default:g})"
        kind = value_read_by(read)
        add(flag, type=kind, metavar=unit, default=default, help=meaning + shown)
    for name, (unit, meaning) in _OPTIONS.items():
        value: dict[str, Any] = {"metavar": unit} if unit else {"action": "store_true"}
        add(f"--{name}", default=argparse.SUPPRESS, help=meaning, **value)
    return parser


_OPTIONS = {
    "cafile": ("FILE", "trust the CA certificates in it, not the system's (tls)"),
    "insecure": ("", "do not verify who the server is (tls)"),
    "certfile": ("FILE", "certificate to show to a server that asks for one (tls)"),
    "keyfile": ("FILE", "its key, if that is not in the same file (tls)"),
    "protocol": ("NUMBER", "IP protocol number, as the server has it (raw; default: 253)"),
}
"""Options of EchoClient that are for some endpoints only: what a flag takes, and means."""


class _Connection(EchoClient):
    """An EchoClient whose errors name the endpoint: standard output has errors of its own."""

    def __init__(
        self, endpoint: str, timeout: float, framing: str, options: dict[str, Any]
    ) -> None:
        try:
            super().__init__(endpoint, timeout=timeout, framing=framing, **options)
        except TimeoutError as error:
            raise TimeoutError(f"{endpoint} did not answer within {timeout:g} s") from error
        except OSError as error:
            raise _explained(endpoint, error) from error

    def send(self, data: bytes) -> None:
        with self._explaining():
            super().send(data)

    def receive(self, size: int = PIECE) -> bytes:
        with self._explaining():
            return super().receive(size)

    def echo(self, message: bytes) -> bytes:
        with self._explaining():
            return super().echo(message)

    def send_some(self, data: memoryview) -> int:
        """Send what can be sent at once; how many bytes.

        :raises BlockingIOError: none.
        """
        sent: int = self._socket.send(data)
        return sent

    def has_come(self, seconds: float) -> bool:
        """Whether there is something to receive within *seconds*, the end included."""
        pending = getattr(self._socket, "pending", None)  # TLS: what comes may be no data
        ready = select.poll()
        ready.register(self, select.POLLIN)
        while pending is None or not pending():
            if not ready.poll(seconds * 1000):
                return False
            if pending is None:
                return True
        return True

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise
        except OSError as error:
            raise _explained(self.endpoint, error) from error


def _explained(endpoint: str, error: OSError) -> OSError:
    if endpoint.startswith("tls:") and (reason := _why_no_tls(error)) is not None:
        return OSError(error.errno, f"{endpoint}: {reason}")
    if isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
        return OSError(error.errno, f"nobody listens at {endpoint}; start a server there first")
    if isinstance(error, ConnectionError):
        return ConnectionError(f"{endpoint}: {error.strerror or error}")
    advice = ""
    if isinstance(error, socket.gaierror):
        advice = "; give the name or address of a host"
    elif error.errno == errno.EPROTOTYPE:
        other = "unix" if endpoint.startswith("unix-datagram:") else "unix-datagram"
        advice = f"; try {other}://"
    return OSError(error.errno, f"{endpoint}: {error.strerror or error}{advice}")


def _why_no_tls(error: OSError) -> str | None:
    import ssl

    from ..tls_contexts import reason_of

    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "--cafile FILE says whom to trust, --insecure verifies nothing"
        return f"{reason_of(error)}; {advice}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS handshake: {reason_of(error)}"
    return None


# --- the prompt -------------------------------------------------------------------------


def _prompt(client: _Connection, framing: str) -> int:
    """Send each line that is typed and show the reply, until Ctrl-D."""
    with contextlib.suppress(ImportError):  # a Python may be built without it
        import readline  # noqa: F401 - imported for what it does: line editing and history
    for stream, errors in (sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace"):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)  # what is no text goes and comes all the same
    whole_lines = client.is_stream and framing == "raw"
    patience = GREETING_TIME if client.is_stream else 0
    print(f"connected to {client.endpoint}; Ctrl-D ends")
    try:
        while _show_unasked(client, patience):
            patience = 0
            data = os.fsencode(input("> "))
            try:
                # What came while the person was typing comes first.
                if not (_show_unasked(client, 0) and _exchange(client, data, whole_lines)):
                    break
            except TimeoutError as error:
                print(error)
    except EOFError:
        print()
        return DONE
    except KeyboardInterrupt:
        print()
        raise
    print(f"{client.endpoint} has closed the connection")
    return DONE


def _exchange(client: EchoClient, data: bytes, whole_lines: bool) -> bool:
    """Send what was typed and show the reply; False at the end of the stream."""
    if not whole_lines:
        _show(client.echo(data))
        return True
    client.send(data + b"\n")
    reply = b""
    try:
        while not reply.endswith(b"\n"):
            more = client.receive()
            if not more:
                break
            reply += more
    finally:
        if reply:
            _show(reply)
    return reply.endswith(b"\n")


def _show_unasked(client: _Connection, patience: float) -> bool:
    """Show a greeting, or a reply that came late; False at the end of the stream."""
    while client.has_come(patience):
        patience = 0
        data = client.receive()
        if not data and client.is_stream:
            return False
        _show(data)
    return True


def _show(reply: bytes) -> None:
    for line in reply.removesuffix(b"\n").split(b"\n"):
        print(escape(line.removesuffix(b"\r"), None))


# --- the filter -------------------------------------------------------------------------


def _read_input(size: int, lines: bool) -> bytes:
    """At most *size* bytes of standard input, no more than a line if *lines*; empty: no more."""
    try:
        return sys.stdin.buffer.readline(size) if lines else os.read(sys.stdin.fileno(), size)
    except OSError as error:
        raise OSError(error.errno, f"cannot read standard input: {error.strerror}") from error


class _Sender(threading.Thread):
    """Sends standard input to the server, then half-closes.

    It waits for the server without a limit: while our own output is not read, as by a
    pager, the server's replies are not read either, and the server rightly stops reading.
    """

    def __init__(self, client: _Connection, framing: Framing, messages: bool) -> None:
        super().__init__(daemon=True)  # it may be waiting for input when all is over
        self._client = client
        self._framing = framing
        self._messages = messages
        self.reading = True
        """Whether it waits for input: until that comes, the server may be silent."""
        self.since = time.monotonic()
        """When that has last changed."""
        self.ended = False
        """Whether all input was sent."""
        self.failure: OSError | None = None
        """Why the input could not be read."""

    def run(self) -> None:
        """Send until the end of the input, or until the server takes no more."""
        try:
            while piece := _read_input(PIECE, self._messages):
                self._note(reading=False)
                self._send(self._framing.wrap(piece))
                self._note(reading=True)
            self.ended = True
        except ConnectionError:
            return  # the receiving side sees the end, too
        except OSError as error:
            self.failure = error
        self._note(reading=False)
        with contextlib.suppress(OSError):  # closed already
            self._client.end()

    def _note(self, reading: bool) -> None:
        self.since = time.monotonic()
        self.reading = reading

    def _send(self, data: bytes) -> None:
        ready = select.poll()
        ready.register(self._client, select.POLLOUT)
        rest = memoryview(data)
        while rest:
            ready.poll()
            with contextlib.suppress(BlockingIOError):
                rest = rest[self._client.send_some(rest) :]


def _filter_stream(client: _Connection, framing: str) -> int:
    """Standard input to the server, then half-close; its replies to standard output.

    With the framing ``length`` a line of input is a message, as it is over datagrams;
    else the bytes go as they are, lines included.
    """
    messages = framing == "length"
    sender = _Sender(client, FRAMINGS["length" if messages else "raw"](), messages)
    sender.start()
    while data := _receive_patiently(client, sender):
        _write(data)
    sender.join(END_TIME)
    if sender.failure is not None:
        raise sender.failure
    if not sender.ended:
        raise ConnectionError(f"{client.endpoint} closed the connection before the end of input")
    return DONE


def _receive_patiently(client: EchoClient, sender: _Sender) -> bytes:
    """The next bytes; the time they may take begins when our own input has been sent."""
    while True:
        try:
            return client.receive()
        except TimeoutError:
            waited = time.monotonic() - sender.since
            if not sender.reading and waited >= (client.timeout or 0):
                raise


def _filter_datagrams(client: EchoClient, _framing: str) -> int:
    """Each line of standard input is a datagram; its reply goes to standard output."""
    code = DONE
    for number in itertools.count(1):
        line = _read_input(MAX_DATAGRAM + 1, lines=True)
        if not line:
            break
        if len(line) > MAX_DATAGRAM:
            raise OptionError(
                f"line {number} of the input is too long; a datagram takes {MAX_DATAGRAM} bytes"
            )
        try:
            reply = client.echo(line)
        except TimeoutError as error:
            code = FAILED
            print(f"echoservers: line {number}: {error}", file=sys.stderr)
        else:
            _write(reply)
    return code


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()

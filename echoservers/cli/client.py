"""``echoservers client ENDPOINT``: a prompt, a filter, or a round-trip meter."""

import argparse
import itertools
import os
import select
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ..client import EchoClient
from ..errors import OptionError
from ..framing import FRAMINGS
from ..log import escape
from ..options import count, seconds
from . import DONE, FAILED
from .arguments import Parser

LINE_SIZE = 65507
"""Bytes: what one UDP datagram can carry, so the longest line that is sent in one."""


def run(arguments: list[str]) -> int:
    """Talk to the server at the endpoint, in the way the flags and standard input ask for."""
    given = _parser().parse(arguments)
    try:
        with EchoClient(
            given.endpoint, timeout=given.timeout, framing=given.framing or "raw"
        ) as client:
            return _talk(client, given)
    except (ConnectionRefusedError, FileNotFoundError) as error:
        raise OSError(error.errno, f"nobody listens at {given.endpoint}") from error
    except OSError as error:
        if isinstance(error, (BrokenPipeError, TimeoutError)) or error.errno is None:
            raise
        raise OSError(error.errno, f"{given.endpoint}: {error.strerror}") from error


def _talk(client: EchoClient, given: argparse.Namespace) -> int:
    if given.count is not None or given.interval is not None:
        return _measure(client, given.count, given.interval or 1.0, given.size)
    if sys.stdin is not None and sys.stdin.isatty():
        return _prompt(client, given.framing)
    return _filter_stream(client) if client.is_stream else _filter_datagrams(client)


def _parser() -> Parser:
    parser = Parser(
        "client",
        usage="echoservers client ENDPOINT [options]",
        description="Send what you type to an echo server and print what comes back.\n"
        "With input piped in, send all of it, then print everything that comes back.",
    )
    add = parser.add_argument
    add("endpoint", metavar="ENDPOINT", help="tcp://HOST:PORT, udp://HOST:PORT, unix:///PATH")
    add("--framing", choices=list(FRAMINGS), help="as the server's handler has it (default: raw)")
    add(
        "--timeout",
        type=_with(seconds),
        default=5.0,
        metavar="S",
        help="give up after (default: 5)",
    )
    add("--count", type=_with(count), metavar="N", help="measure N round trips")
    add("--interval", type=_with(seconds), metavar="S", help="between round trips (default: 1)")
    add(
        "--size",
        type=_with(count),
        default=64,
        metavar="BYTES",
        help="of a round trip (default: 64)",
    )
    return parser


def _with(read: Callable[[Any], object]) -> Callable[[str], object]:
    def convert(text: str) -> object:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


# --- the prompt -------------------------------------------------------------------------


def _prompt(client: EchoClient, framing: str | None) -> int:
    """Send each line that is typed and show the reply, until Ctrl-D."""
    import readline  # noqa: F401 - imported for what it does: line editing and history

    print(f"connected to {client.endpoint}; Ctrl-D ends")
    while True:
        _show_unasked(client)
        try:
            line = input("> ")
        except EOFError:
            print()
            return DONE
        data = os.fsencode(line)
        client.send(data + b"\n" if framing in (None, "raw") and client.is_stream else data)
        try:
            if not _show_reply(client, framing):
                print("the server has closed the connection")
                return DONE
        except TimeoutError as error:
            print(error)


def _show_reply(client: EchoClient, framing: str | None) -> bool:
    """Show what answers one line; False at the end of the stream."""
    reply = client.receive()
    if client.is_stream and framing in (None, "raw"):
        while reply and not reply.endswith(b"\n"):
            more = client.receive()
            if not more:
                break
            reply += more
    if not reply and client.is_stream:
        return False
    _show(reply)
    return True


def _show_unasked(client: EchoClient) -> None:
    """A greeting, or a reply that came late."""
    ready = select.poll()
    ready.register(client, select.POLLIN)
    while ready.poll(0):
        data = client.receive()
        if not data:
            return
        _show(data)


def _show(reply: bytes) -> None:
    for line in reply.removesuffix(b"\n").split(b"\n"):
        print(escape(line.removesuffix(b"\r")))


# --- the filter -------------------------------------------------------------------------


def _filter_stream(client: EchoClient) -> int:
    """Standard input to the server, then half-close; its replies to standard output."""
    failures: list[OSError] = []

    def send_all() -> None:
        try:
            while data := os.read(sys.stdin.fileno(), 65536):
                client.send(data)
            client.end()
        except OSError as error:
            failures.append(error)

    sender = threading.Thread(target=send_all, daemon=True)
    sender.start()
    while data := _receive_patiently(client, sender):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    sender.join(timeout=0)
    if failures:
        raise failures[0]
    if sender.is_alive():
        raise ConnectionError(f"{client.endpoint} closed the connection before the end of input")
    return DONE


def _receive_patiently(client: EchoClient, sender: threading.Thread) -> bytes:
    """The next bytes; while our own input has not ended, the server may be silent."""
    while True:
        try:
            return client.receive()
        except TimeoutError:
            if not sender.is_alive():
                raise


def _filter_datagrams(client: EchoClient) -> int:
    """Each line of standard input is a datagram; its reply goes to standard output."""
    lost = 0
    for number, line in enumerate(sys.stdin.buffer, start=1):
        if len(line) > LINE_SIZE:
            raise OptionError(f"line {number} has {len(line)} bytes; a datagram takes {LINE_SIZE}")
        try:
            sys.stdout.buffer.write(client.echo(line))
            sys.stdout.buffer.flush()
        except TimeoutError as error:
            lost += 1
            print(f"echoservers: line {number}: {error}", file=sys.stderr)
    return FAILED if lost else DONE


# --- the meter --------------------------------------------------------------------------


def _measure(client: EchoClient, wanted: int | None, interval: float, size: int) -> int:
    """Print each round trip and a summary, as ping does."""
    times: list[float] = []
    sent = 0
    began = time.perf_counter()
    pause = threading.Event()
    try:
        for number in itertools.count(1) if wanted is None else range(1, wanted + 1):
            message = f"echo {number} ".encode().ljust(size, b".")[:size]
            sent += 1
            try:
                start = time.perf_counter()
                reply = client.echo(message)
                took = time.perf_counter() - start
            except TimeoutError as error:
                print(f"seq={number}: {error}", flush=True)
            else:
                wrong = "" if reply == message else " DIFFERENT from what was sent"
                times.append(took)
                print(
                    f"{len(reply)} bytes from {client.endpoint}: seq={number}"
                    f" time={took * 1000:.3f} ms{wrong}",
                    flush=True,
                )
            if number != wanted:
                pause.wait(interval)
    except KeyboardInterrupt:
        print()
    print(_summary(client.endpoint, sent, times, time.perf_counter() - began))
    return DONE if times and len(times) == sent else FAILED


def _summary(endpoint: str, sent: int, times: list[float], took: float) -> str:
    lost = 100 * (sent - len(times)) / sent if sent else 0
    lines = [
        f"--- {endpoint} echo statistics ---",
        f"{sent} sent, {len(times)} received, {lost:.3g}% lost, time {took * 1000:.0f} ms",
    ]
    if times:
        figures = (min(times), statistics.fmean(times), max(times), statistics.pstdev(times))
        shown = "/".join(f"{figure * 1000:.3f}" for figure in figures)
        lines.append(f"round trip min/avg/max/mdev = {shown} ms")
    return "\n".join(lines)

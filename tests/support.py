"""What the tests share: modes, servers in this process, servers as programs, clients."""

import contextlib
import os
import random
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import echoservers
from chosen_modes import AVAILABLE_MODES, CHOSEN_MODES, STRESSED_MODES
from controlled import PATIENCE, ROOT, ControlledServer
from echoservers.addresses import parse_endpoint
from echoservers.options import options_of
from echoservers.raw import connect_raw
from echoservers.registry import Mode, find_mode
from echoservers.serving import ServingMixIn

MODES: list[Mode] = CHOSEN_MODES
EVERY_NAME = [mode.name for mode in echoservers.modes()]
AVAILABLE = [mode.name for mode in AVAILABLE_MODES]
TLS_NAMES = [m.name for m in MODES if m.transport == "tls"]
RAW_NAMES = [m.name for m in MODES if m.transport == "raw"]
"""Empty where raw sockets are not permitted."""
STREAMS, DATAGRAMS = ("tcp", "unix-stream"), ("udp", "unix-datagram")
STREAM_NAMES = [m.name for m in MODES if m.transport in STREAMS]
DATAGRAM_NAMES = [m.name for m in MODES if m.transport in DATAGRAMS]
STRESSED_STREAM_NAMES = [m.name for m in STRESSED_MODES if m.transport in STREAMS]
STRESSED_NAMES = [m.name for m in STRESSED_MODES if m.transport in STREAMS + DATAGRAMS]
NAMES = [m.name for m in MODES if m.name in (*STREAM_NAMES, *DATAGRAM_NAMES)]
"""The modes that need neither certificates nor a privilege."""
ONE_OF_EACH = [
    name
    for name in (
        *("tcp", "threading-udp", "forking-unix-stream", "forking-udp", "thread-pool-tcp"),
        *("prethreading-unix-datagram", "epoll-tcp", "asyncio-unix-stream", "uvloop-udp"),
        *("gevent-unix-datagram", "prefork-tcp"),
    )
    if name in AVAILABLE
]
"""Each way to serve and each transport, for what is the same code in all modes."""
CLIENTS_AT_ONCE = {"tcp": 1, "unix-stream": 1, "prefork-tcp": 2, "prefork-unix-stream": 2}
"""How many clients at a time, of the modes that serve few."""
CONCURRENT_STREAM_NAMES = [n for n in STREAM_NAMES if n not in CLIENTS_AT_ONCE]
OF_PROCESSES = ("forking", "prefork")
"""How the names of modes begin that fork."""
HANDLE_NAMES = [m.name for m in MODES if echoservers.server_class(m.name).runs_handle]
"""The modes that run handlers with a ``handle()`` of their own."""
ASYNC_NAMES = [n for n in NAMES if echoservers.server_class(n).runs_async]
TCP_NAMES = [m.name for m in MODES if m.transport == "tcp"]
UDP_NAMES = [m.name for m in MODES if m.transport == "udp"]
UNIX_NAMES = [m.name for m in MODES if m.transport.startswith("unix")]


def has_pool(mode: str) -> bool:
    """Whether *mode* serves in a fixed number of threads, ``max_workers``."""
    return "max_workers" in options_of(echoservers.server_class(mode))


def idle_threads(mode: str) -> int:
    """How many threads a server of *mode* has while it serves nobody."""
    pool: int = getattr(echoservers.server_class(mode), "max_workers", 0)
    return 1 + pool


def free_address(mode: str, folder: Path) -> Any:
    """An address for a server of *mode* that nobody else uses."""
    if "unix" in mode:
        return str(folder / "server.sock")
    if mode.endswith("raw"):  # whoever has the same address hears every datagram for it
        return (f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.1", 0)
    return ("127.0.0.1", 0)


@contextlib.contextmanager
def serving(mode: str, folder: Path, handler: Any = None, **options: Any) -> Iterator[Any]:
    """A server of *mode* that serves in a thread of this process; in its own, if it forks."""
    options.setdefault("drain_timeout", 3)
    if mode.startswith("prefork"):
        options.setdefault("workers", 2)  # whatever this machine has
    address = free_address(mode, folder)
    if "host" in options:
        address = (options.pop("host"), 0)
    if mode.startswith(OF_PROCESSES):
        with ControlledServer(mode, address, handler, options) as controlled:
            yield controlled
    else:
        with echoservers.start_server(mode, address, handler, **options) as server:
            yield server


class TLSClient(ssl.SSLSocket):
    """A client's connection whose half-close ends the output only, and keeps TLS."""

    def shutdown(self, how: int) -> None:
        socket.socket.shutdown(self, how)


def connect_tls(
    address: Any, timeout: float = PATIENCE, context: ssl.SSLContext | None = None
) -> ssl.SSLSocket:
    """A client's TLS connection; without a *context* it verifies nothing."""
    if context is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = TLSClient
    plain = socket.create_connection(address, timeout)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except OSError:
        plain.close()
        raise


def connect(server: Any, timeout: float = PATIENCE) -> Any:
    """A client socket connected to *server*, able to get replies."""
    transport = find_mode(server.mode).transport if isinstance(server.mode, str) else None
    if transport == "tls":
        return connect_tls(server.server_address, timeout)
    if transport == "raw":
        raw = connect_raw(server.server_address[0], server.protocol)
        raw.settimeout(timeout)
        return raw
    client = socket.socket(server.address_family, server.socket_type)
    client.settimeout(timeout)
    if server.address_family == socket.AF_UNIX and server.socket_type == socket.SOCK_DGRAM:
        client.bind("")
    try:
        client.connect(server.server_address)
    except OSError:
        client.close()
        raise
    return client


def receive_exactly(client: socket.socket, size: int) -> bytes:
    """*size* bytes, or fewer where the stream ends before."""
    received = bytearray()
    while len(received) < size:
        data = client.recv(min(65536, size - len(received)))
        if not data:
            break
        received += data
    return bytes(received)


def receive_all(client: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    received = bytearray()
    while data := client.recv(65536):
        received += data
    return bytes(received)


def echo(client: socket.socket, message: bytes = b"hello") -> None:
    """One message there and back, checked."""
    client.sendall(message)
    if client.type == socket.SOCK_DGRAM:
        assert client.recv(65536) == message
    else:
        assert receive_exactly(client, len(message)) == message


def workers_of(server: Any) -> list[threading.Thread]:
    """The threads of the pool of *server*."""
    name = f"{type(server).__name__} worker "
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def echo_once(server: ServingMixIn, message: bytes = b"hello", timeout: float = PATIENCE) -> None:
    """A fresh client is served."""
    with connect(server, timeout) as client:
        echo(client, message)


def wait_until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Look again and again until *condition* holds, for things that give no event."""
    deadline = time.monotonic() + patience
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        pause.wait(0.002)


def children_of(pid: int) -> list[int]:
    """The child processes of *pid*, zombies included.

    While the kernel lists them it may pass over one because the one before it is reaped (proc(5),
    ``/proc/pid/task/tid/children``).  That one is then missing from the next reading: two that
    agree have passed over none.
    """
    before, found = None, _children_listed(pid)
    while found != before:
        before, found = found, _children_listed(pid)
    return found


def _children_listed(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def state_of(pid: int) -> str:
    """The state letter of a process; Z for a zombie, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def zombies_of(pid: int) -> list[int]:
    """The zombie children of *pid*."""
    return [child for child in children_of(pid) if state_of(child) == "Z"]


def descriptors_of(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads_of(pid: int) -> int:
    """How many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))


def cpu_seconds_of(pid: int) -> float:
    """The CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Program:
    """``python -m echoservers ...`` as a process of its own."""

    def __init__(self, *arguments: str, wrapper: tuple[str, ...] = (), **popen: Any) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **popen.pop("env", {})}
        popen.setdefault("stderr", subprocess.PIPE)
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-m", "echoservers", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=popen.pop("cwd", ROOT),
            **popen,
        )
        self.line = ""
        self.url = ""
        self._first_words = b""

    def wait_until_listening(self) -> "Program":
        """Read the line that says where it listens."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline().decode() if ready else ""
        if " listening on " not in line:
            self.process.kill()
            rest = self.process.communicate(timeout=PATIENCE)
            raise AssertionError(f"no listening line: {line!r} {rest!r}")
        self.line = line.rstrip("\n")
        self.url = self.line.rpartition(" ")[2]
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def address(self) -> Any:
        """Where it listens, as the socket module has it."""
        return parse_endpoint(self.url).address

    def connect(self, timeout: float = PATIENCE) -> socket.socket:
        """A client socket connected to it, for TCP and Unix streams."""
        if isinstance(self.address, tuple):
            return socket.create_connection(self.address, timeout)
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(self.address)  # without a time limit it waits for room in the backlog
        except OSError:
            client.close()
            raise
        client.settimeout(timeout)
        return client

    def stop(self, signum: int = signal.SIGTERM) -> tuple[int, str]:
        """End it with a signal; its exit code and what it wrote to standard error."""
        self.process.send_signal(signum)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Wait for its end; its exit code and what it wrote to standard error."""
        _, log = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, (log or b"").decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def program(*arguments: str, **popen: Any) -> Iterator[Program]:
    """A serving program, ended at the end of the block whatever happens."""
    wrapped = bool(popen.get("wrapper"))
    started = Program(*arguments, **popen)
    try:
        yield started.wait_until_listening()
    finally:
        if started.process.poll() is None:
            # Of a wrapper first what it runs: strace, when killed, leaves that behind.
            for pid in children_of(started.pid) if wrapped else []:
                os.kill(pid, signal.SIGKILL)
            started.process.kill()
        started.process.communicate(timeout=PATIENCE)


def serve_arguments(mode: str, folder: Path) -> list[str]:
    """The arguments that serve *mode* where nobody else does."""
    where = ["--path", str(folder / "server.sock")] if "unix" in mode else ["--port", "0"]
    if mode.endswith("raw"):
        where = ["--host", free_address(mode, folder)[0]]
    workers = ["--workers", "2"] if mode.startswith("prefork") else []
    return ["--mode", mode, *where, *workers]


def run_cli(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """``python -m echoservers ...`` to its end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    options.setdefault("stdin", subprocess.DEVNULL)
    if "input" in options:
        del options["stdin"]
    return subprocess.run(
        [sys.executable, "-m", "echoservers", *arguments],
        capture_output=True,
        check=False,
        timeout=PATIENCE,
        env=environment,
        cwd=options.pop("cwd", ROOT),
        **options,
    )


def connect_to(url: str, timeout: float = PATIENCE) -> socket.socket:
    """A client socket connected to the endpoint *url*, able to get replies."""
    transport, address = echoservers.addresses.parse_endpoint(url)
    if transport == "tls":
        return connect_tls(address, timeout)
    kind = socket.SOCK_STREAM if transport in ("tcp", "unix-stream") else socket.SOCK_DGRAM
    family = socket.AF_UNIX
    if isinstance(address, tuple):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    client = socket.socket(family, kind)
    client.settimeout(timeout)
    if transport == "unix-datagram":
        client.bind("")
    try:
        client.connect(address)
    except OSError:
        client.close()
        raise
    return client

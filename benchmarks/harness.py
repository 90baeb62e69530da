"""Start a server, load it, stop it: what every benchmark here shares.

A measurement uses a fresh server process in a session of its own, on a core of its own; the load
generator has another core. Whatever happens, leaving the `with` block ends the whole session.
Linux only: it reads /proc and waits on process descriptors.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent
REPOSITORY = BENCHMARKS.parent

READY_TIMEOUT = 20.0  # seconds; an interpreter starts in a tenth of one, on a busy machine in a few
STOP_TIMEOUT = 5.0  # seconds between SIGTERM and SIGKILL
REPLY_TIMEOUT = 5.0  # seconds for one echo over loopback
LOAD_GRACE = 15.0  # seconds beyond its own deadline before the generator is given up
CFLAGS = ("-O2", "-Wall", "-Wextra")
MAX_LINES = 20  # lines a server may print before the one that names its address

PSS = re.compile(r"^Pss: +(\d+) kB$", re.MULTILINE)
LISTENING = re.compile(rb"listening on (?:[a-z]+://)?(127(?:\.\d+){3}):(\d+)")

Address = tuple[str, int]
CPUs = frozenset[int]
Environment = dict[str, str]


class BenchmarkError(Exception):
    """A measurement could not be made; the message says why."""


@dataclass(frozen=True)
class Cores:
    """Which cores the server and the load generator run on; equal sets mean not pinned."""

    server: CPUs
    generator: CPUs

    @classmethod
    def choose(cls, pin: bool) -> Cores:
        """Return one core for each where `pin` is wanted and there are two, else all for both."""
        available = sorted(os.sched_getaffinity(0))
        if not pin or len(available) < 2:
            return cls(frozenset(available), frozenset(available))
        return cls(frozenset(available[-1:]), frozenset(available[:1]))

    @property
    def pinned(self) -> bool:
        """Whether the server and the generator keep off each other's core."""
        return not self.server & self.generator


@contextlib.contextmanager
def running_on(cpus: CPUs) -> Iterator[None]:
    """Keep this thread, and so the processes that it starts meanwhile, on `cpus`."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def compiled_programs() -> Iterator[Path]:
    """Compile the load generator and the peers in C; yields the directory of the programs."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        sources = {path.stem: [path] for path in BENCHMARKS.glob("peers/*.c")}
        sources["loadgen"] = list(BENCHMARKS.glob("loadgen/*.c"))
        for program, files in sources.items():
            command = ["cc", *CFLAGS, "-o", str(Path(directory, program)), *map(str, files)]
            try:
                subprocess.run(command, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise BenchmarkError(f"cannot compile {program}: {error}") from error
        yield Path(directory)


@contextlib.contextmanager
def clean_environment() -> Iterator[Environment]:
    """Yield an environment for Python programs that no setting of ours bends.

    They keep their bytecode, as an installed package does, but in a temporary directory: the first
    start of a program fills it, and is not to be measured.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    with tempfile.TemporaryDirectory(prefix="bytecode-") as directory:
        yield environment | {"PYTHONPYCACHEPREFIX": directory}


def allow_descriptors(count: int) -> None:
    """Let this process, and those that it starts from now on, open `count` descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchmarkError(f"it takes {count} descriptors and `ulimit -Hn` allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def is_readable(descriptor: int, timeout: float) -> bool:
    """Wait for `descriptor`, which may be beyond the 1024 of select(); False after `timeout`."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(max(0.0, timeout) * 1000))


class Server:
    """A server process, from its spawn to the end of every process that it started.

    Use it as a context manager; `address` is where it listens, once entered. The process runs in
    the repository's directory, so that `python -m echoservers` finds the package there.
    """

    def __init__(
        self, command: Sequence[str], cpus: CPUs, environment: Environment | None = None
    ) -> None:
        self.command = list(command)
        self.cpus = cpus
        self.environment = environment
        self.address: Address = ("", 0)

    def __enter__(self) -> Server:
        self._stderr = tempfile.TemporaryFile()
        with running_on(self.cpus):
            self._process = subprocess.Popen(
                self.command,
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=PIPE,
                stderr=self._stderr,
                start_new_session=True,
            )
        try:
            self.address = self._wait_for_address()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end_session()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._stderr.close()

    def cpu_seconds(self) -> float:
        """Return the CPU time so far of the server, its children and its grandchildren."""
        ticks = 0
        for _, fields in _session_stats(self._process.pid):
            ticks += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
        return ticks / os.sysconf("SC_CLK_TCK")

    def processes(self) -> list[int]:
        """Return the numbers of the server's process and of those that it started and that live."""
        return [pid for pid, fields in _session_stats(self._process.pid) if fields[0] != "Z"]

    def user_memory(self) -> int:
        """Return the bytes that the server's processes have mapped and touched.

        It is their PSS (proc(5), smaps_rollup): a page that several share counts once. The memory
        of sockets is the kernel's and not part of it.
        """
        kilobytes = 0
        for pid in self.processes():
            match = PSS.search(Path("/proc", str(pid), "smaps_rollup").read_text())
            kilobytes += int(match[1]) if match else 0
        return kilobytes * 1024

    def errors(self) -> str:
        """Return the end of what the server wrote to standard error."""
        # pread: the server writes through the same open file, whose position must not move.
        descriptor = self._stderr.fileno()
        start = max(0, os.fstat(descriptor).st_size - 2000)
        return os.pread(descriptor, 2000, start).decode(errors="replace").strip()

    def _wait_for_address(self) -> Address:
        """Read standard output until the line that says where the server listens."""
        deadline = time.monotonic() + READY_TIMEOUT
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        printed = b""
        while printed.count(b"\n") < MAX_LINES:
            if not is_readable(output, deadline - time.monotonic()):
                raise BenchmarkError(f"{self._name()}: no address in {READY_TIMEOUT:g} s")
            chunk = os.read(output, 4096)
            if not chunk:
                raise BenchmarkError(f"{self._name()} ended: {self.errors() or 'no message'}")
            printed += chunk
            complete = printed[: printed.rfind(b"\n") + 1]
            if match := LISTENING.search(complete):
                return match[1].decode(), int(match[2])
        raise BenchmarkError(f"{self._name()} printed {MAX_LINES} lines and no address")

    def _end_session(self) -> None:
        """Ask the server to end, then end what is left of its session."""
        process = self._process
        if process.returncode is None:
            process.terminate()
            wait_for_exit(process.pid, STOP_TIMEOUT)
        # Not reaped yet, so that the number of the group cannot belong to anybody else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _name(self) -> str:
        return " ".join(self.command)


def wait_for_exit(pid: int, timeout: float) -> bool:
    """Wait until the child `pid` has ended, without reaping it; False after `timeout` seconds.

    `Popen.wait(timeout)` would look every 50 ms at worst, and round what is timed up to that.
    """
    descriptor = os.pidfd_open(pid)
    try:
        return is_readable(descriptor, timeout)
    finally:
        os.close(descriptor)


def _session_stats(session: int) -> Iterator[tuple[int, list[str]]]:
    """Yield PID and the fields of /proc/PID/stat from the state on, for all of `session`."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):  # it ended between the listing and the reading
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    yield int(entry), fields


@dataclass(frozen=True)
class Load:
    """One run of the load generator: see the head of loadgen/main.c for its words."""

    kind: str
    sockets: int
    size: int
    seconds: float
    pipeline: int = 1

    def run(self, program: Path, server: Server, cpus: CPUs) -> dict[str, Any]:
        """Load `server`; return the generator's results.

        "server_cpu_seconds" is added to them, for the time in which the generator counted.
        Raises `BenchmarkError` when a reply differed, nothing was answered or not everybody was.
        """
        address = server.address
        command = [str(program), self.kind, address[0], str(address[1]), str(self.sockets)]
        command += [str(self.size), str(self.seconds)]
        command += [str(self.pipeline)] if self.pipeline > 1 else []
        cpu: dict[str, float] = {}
        with running_on(cpus):
            process = subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True)
        with process:
            try:
                for line in self._progress(process):
                    cpu[line] = server.cpu_seconds()
                results: dict[str, Any] = json.loads(process.communicate()[0])
            except ValueError:
                raise BenchmarkError(f"load generator: {' '.join(cpu)}") from None
            finally:
                process.kill()  # if it is still there
        self._check(results)
        return results | {"server_cpu_seconds": cpu["stopping"] - cpu["counting"]}

    def _progress(self, process: subprocess.Popen[str]) -> Iterator[str]:
        """Yield what the generator says while it runs: "counting", "stopping", or what is wrong."""
        assert process.stderr is not None
        deadline = time.monotonic() + self.seconds + LOAD_GRACE
        while is_readable(process.stderr.fileno(), deadline - time.monotonic()):
            line = process.stderr.readline()
            if not line:
                return
            yield line.strip()
        raise BenchmarkError("the load generator did not end in time")

    def _check(self, results: dict[str, Any]) -> None:
        if results["mismatches"]:
            raise BenchmarkError(f"{results['mismatches']} replies differed from what was sent")
        if not results["messages"]:
            raise BenchmarkError("nothing was answered")
        if results["connections"] < self.sockets:
            raise BenchmarkError(f"only {results['connections']} of {self.sockets} were served")


def echo_once(transport: str, address: Address, message: bytes = b"first echo\n") -> None:
    """Send `message` over `transport` (tcp or udp) and check the reply, as a new client."""
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(REPLY_TIMEOUT)
        client.connect(address)
        exchange(client, message)


def exchange(client: socket.socket, message: bytes) -> None:
    """Send `message` over the connected `client` and check the reply."""
    client.sendall(message)
    reply = b""
    while len(reply) < len(message) and (chunk := client.recv(65536)):
        reply += chunk
    if reply != message:
        raise BenchmarkError(f"sent {message!r}, received {reply!r}")

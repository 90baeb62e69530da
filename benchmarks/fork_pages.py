"""What a fork costs in Python: the pages that parent and child touch after it, each a page fault.

    python benchmarks/fork_pages.py

First for a fork in which nothing is done, with what is imported before; then for one connection,
and one datagram, of our forking servers and of the bare `socketserver` programs. A page fault costs
from half a microsecond to three, by the machine, and the copy of the page is in it. Counts are the
kernel's (proc(5), stat), means over many forks; nothing is timed, so a busy machine does not
matter.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from harness import BENCHMARKS, Cores, Server, echo_once, is_readable

FORKS = 100
WARM_UP = 20  # the first ones touch what later ones find in place

NOTHING_DONE = """
import os, resource
def pages(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
children, parents = [], []
reading, writing = os.pipe()
for _ in range({forks}):
    before = pages()
    pid = os.fork()
    if pid == 0:
        os.write(writing, b"%6d" % pages())
        os._exit(0)
    os.waitpid(pid, 0)
    parents.append(pages() - before)
    children.append(int(os.read(reading, 6)))
print(sum(parents) / {forks}, sum(children) / {forks})
"""

IMPORTED = {
    "nothing": "",
    "threading": "import threading",
    "socketserver": "import socketserver",
    "socketserver, logging": "import socketserver, logging",
    "echoservers' forking-tcp": "import echoservers; echoservers.server_class('forking-tcp')",
}


def touched_by_a_fork(imports: str) -> tuple[float, float]:
    """Pages of the parent and of the child, when neither does anything."""
    code = f"{imports}\n{NOTHING_DONE.format(forks=FORKS)}"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=BENCHMARKS.parent, capture_output=True, check=True
    ).stdout
    parent, child = map(float, output.split())
    return parent, child


def faults_of(pid: int) -> tuple[int, int]:
    """Page faults so far, of a process and of its children that have ended."""
    fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return int(fields[7]), int(fields[8])  # minflt, cminflt


def touched_by_a_request(command: list[str], transport: str) -> tuple[float, float]:
    """Pages of the parent and of the child for a connection, or a datagram."""
    with Server(command, Cores.choose(pin=False).server) as server:
        pid = server.processes()[0]
        ask(server, transport, WARM_UP)
        before = faults_of(pid)
        ask(server, transport, FORKS)
        after = faults_of(pid)
    return (after[0] - before[0]) / FORKS, (after[1] - before[1]) / FORKS


def ask(server: Server, transport: str, count: int) -> None:
    """One request after the other, each of whose children has ended."""
    for _ in range(count):
        echo_once(transport, server.address)
        for pid in server.processes()[1:]:
            with contextlib.suppress(ProcessLookupError):
                wait_for(pid)


def wait_for(pid: int) -> None:
    """Wait until the process, which is not ours, has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        is_readable(descriptor, 5)
    finally:
        os.close(descriptor)


def main() -> None:
    """Count, and print."""
    print("a fork in which nothing is done, with these imported:    parent   child")
    for name, imports in IMPORTED.items():
        parent, child = touched_by_a_fork(imports)
        print(f"  {name:54}{parent:7.0f}{child:8.0f}")
    for transport in ("tcp", "udp"):
        mode = f"forking-{transport}"
        print(f"{mode}, a request:")
        commands = {
            "bare": [sys.executable, str(BENCHMARKS / "peers" / "bare_socketserver.py"), mode],
            "ours": [sys.executable, "-m", "echoservers", "--mode", mode, "--port", "0"],
        }
        for name, command in commands.items():
            parent, child = touched_by_a_request(command, transport)
            print(f"  {name:54}{parent:7.0f}{child:8.0f}")


if __name__ == "__main__":
    main()

"""What the tests of preforked servers share."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from support import (
    PATIENCE,
    ROOT,
    Program,
    children_of,
    echo,
    program,
    serve_arguments,
    state_of,
    wait_until,
)


@contextmanager
def workers(
    mode: str, folder: Path, *options: str, number: int = 2, **popen: object
) -> Iterator[tuple[Program, Callable[[], list[int]]]]:
    """A program with so many workers that all serve, and what lists them."""
    arguments = [*serve_arguments(mode, folder), "--workers", str(number), *options]
    with program(*arguments, **popen) as server:

        def listed() -> list[int]:
            return [pid for pid in children_of(server.pid) if state_of(pid) not in ("Z", "")]

        wait_until_ready(listed, number)
        yield server, listed


def wait_until_ready(
    listed: Callable[[], list[int]],
    number: int = 2,
    *,
    without: Collection[int] = (),
    patience: float = PATIENCE,
) -> list[int]:
    """Wait until there are so many workers and all are ready; those, as one look has seen them.

    :param without: those that must have gone.
    """
    seen: list[int] = []

    def all_there() -> bool:
        seen[:] = listed()
        return len(seen) == number and not set(seen) & set(without) and ready(seen)

    wait_until(all_there, f"{number} workers are ready", patience)
    return seen


def ready(pids: list[int]) -> bool:
    """Whether each has the thread that hears its master, and waits."""
    try:
        return all(len(os.listdir(f"/proc/{pid}/task")) >= 2 for pid in pids)
    except FileNotFoundError:  # one has ended since they were listed
        return False


def all_gone(pids: list[int]) -> bool:
    """Whether all have ended; an orphan's zombie is left to the system's first process."""
    return all(state_of(pid) in ("", "Z") for pid in pids)


def ended_well(code: int, log: str) -> bool:
    """Whether nothing was cut and nothing else was logged."""
    return code == 0 and re.fullmatch(r"drained \d+ connections?, aborted 0\n", log) is not None


def served_by(server: Program, pids: list[int]) -> tuple[socket.socket, int]:
    """A client over TCP, and the process that has the other end of its connection."""
    client = server.connect()
    echo(client)
    return client, next(pid for pid in pids if client.getsockname() in peers_of(pid))


def peers_of(pid: int) -> set[Any]:
    """Whom a process is connected with over TCP; other sockets come and go as it starts."""
    return {each.raddr for each in psutil.Process(pid).net_connections("tcp") if each.raddr}


@contextmanager
def script(text: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A program of a test's own, killed at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()

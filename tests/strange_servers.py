"""Servers that are not ours, in `broken_servers/` and `right_servers/`, as targets of checks."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from echoservers.conformance import Outcome, Result, Subject, check_target, select_checks
from echoservers.targets import Level, Target

HERE = Path(__file__).parent


class Strange(NamedTuple):
    """A server in one file, and what that file says of it."""

    path: Path
    fault: str
    """In words: the first line."""
    fails: frozenset[str]
    """The ids of the checks that name its fault."""
    level: Level
    transport: str
    lines: bool
    """Whether it may wait for the end of a line."""
    design: str | None
    """The design that it should have, where that is its fault."""

    @classmethod
    def read(cls, path: Path) -> "Strange":
        """What *path* says: constants of strings, in any language."""
        text = path.read_text()
        level = _constant(text, "LEVEL")
        return cls(
            path,
            text.splitlines()[0].strip('"/* '),
            frozenset((_constant(text, "FAILS") or "").split()),
            Level.named(level) if level else Level.CONCURRENT,
            _constant(text, "TRANSPORT") or "tcp",
            _constant(text, "FRAMING") == "lines",
            _constant(text, "DESIGN"),
        )

    def target(self, folder: Path) -> Target:
        """How to start it; it is compiled into *folder* if it must be.

        Skips the test where what it is written in is missing.
        """
        address = "{path}" if self.transport.startswith("unix") else "{port}"
        return Target.of_command(
            f"{self._program(folder)} {address}", self.transport, self.path.name
        )

    def _program(self, folder: Path) -> str:
        if self.path.suffix == ".py":
            return f"{sys.executable} -I -S {self.path}"
        if self.path.suffix == ".js":
            return f"{needed('node')} {self.path}"
        made = folder / self.path.stem
        compiler = [needed("gcc"), "-O1", "-Wall", "-o", str(made), str(self.path)]
        subprocess.run(compiler, check=True)
        return str(made)


def strange_servers(folder: str) -> list[Strange]:
    """All that are in *folder*."""
    paths = sorted((HERE / folder).iterdir())
    return [Strange.read(path) for path in paths if path.suffix in (".py", ".c", ".js")]


def needed(program: str) -> str:
    """Where *program* is; skips the test if it is missing."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def checked(
    target: Target,
    level: Level,
    scale: float = 1.0,
    lines: bool = False,
    design: str | None = None,
) -> list[Result]:
    """Run every check of *level* on *target*, and that of its design if one is asked for."""
    checks = select_checks(target, level, lines=lines, design=design is not None)
    with Subject(target, level, scale) as subject:
        subject.expected_design = design
        return check_target(subject, checks, look=False).results


def failed(results: list[Result]) -> dict[str, str]:
    """What was expected and what came, of those that failed."""
    return {
        result.check.id: f"expected {result.expected}; got {result.got}"
        for result in results
        if result.outcome is Outcome.FAIL
    }


_NO_PORTS = dict.fromkeys(("datagrams.low-ports", "datagrams.own-port"), "has no ports")
_INSTANCES = (
    "processes.second-instance",
    "processes.second-instance-says",
    "processes.first-instance",
)
_CANNOT_BE = {
    "udp": {"datagrams.low-ports": "needs root|is taken here"},
    "unix-datagram": _NO_PORTS,
    "raw": {
        **_NO_PORTS,
        "datagrams.from-where-asked": "raw IP has no ports",
        **dict.fromkeys(_INSTANCES, "raw sockets may have the same address"),
    },
}
"""By transport: checks that may be skipped, and what is said then."""

_TAKE_LONG = ("asyncio-tls", "uvloop-tls", "thread-pool-tls", "prethreading-tls")
"""Modes whose memory may grow for dozens of rounds without a leak: a heap that is swept now and
then, or the pools of many threads.  On a busy machine they may take more than the time there is."""

_STAY = {
    "processes": "processes.children",
    "threads": "processes.threads",
    "descriptors": "processes.descriptors",
    "bytes of memory": "processes.memory",
}


def wrongly_skipped(target: Target, results: list[Result]) -> dict[str, str]:
    """The checks that were skipped, and why, but for those that

    - cannot be made over the transport, or by a user who is not root,
    - say which other check has failed instead, or
    - look for a leak of memory in one of `_TAKE_LONG`.
    """
    cannot_be = dict(_CANNOT_BE.get(target.transport, {}))
    if (target.mode or "").partition(":")[0].removeprefix("prefork-") in _TAKE_LONG:
        cannot_be["processes.memory"] = "take more than the time for this check"
    failures = failed(results)
    return {
        result.check.id: result.got
        for result in results
        if result.outcome is Outcome.SKIP
        and not re.search(cannot_be.get(result.check.id, "(?!)"), result.got)
        and result.got.rpartition("; see ")[2] not in failures
        and _STAY.get(result.got.partition(" stay, and ")[0]) not in failures
    }


def _constant(text: str, name: str) -> str | None:
    """The string after *name*, which may be in several pieces."""
    found = re.search(rf'\b{name}\b[\s=(]*((?:"[^"]*"[\s\\]*)+)', text)
    return "".join(re.findall(r'"([^"]*)"', found[1])) if found else None

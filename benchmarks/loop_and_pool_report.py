"""The report of `loop_and_pool_modes.py`: its tables and how to read them."""

from __future__ import annotations

import statistics
from typing import Any

from tables import (
    HOW,
    RATE_HEADERS,
    Key,
    Results,
    Row,
    by_round,
    failures,
    flags,
    interval,
    pairs_of,
    rate_cells,
    rate_verdict,
    settings,
    spread,
    table,
    verdict_below,
)

NEXT_CLIENT_LIMIT = 0.010  # seconds
TITLES = {
    "messages-64": "Messages a second, 50 connections, 64 bytes",
    "messages-1k": "Messages a second, 50 connections, 1 KiB",
    "pipelined": "Messages a second, 50 connections, 64 bytes, 16 in flight on each",
    "messages-1m": "Messages a second, 8 connections, 1 MiB",
    "churn": "Connections a second, 8 at a time, one message of 64 bytes each",
    "idle": "10 000 idle connections: bytes of user memory each; milliseconds until a new client "
    "is echoed, to reach: 10 at most",
    "datagrams": "Datagrams a second, 8 sockets, 64 bytes, 16 in flight on each",
}

ROUNDS = """\
Every number is from a fresh server process. In each round, every mode and measure came up once in
random order, ours and its peers right after each other, each of them in turn as the first. A ratio
is ours over the peer's within one round: the median of the rounds, and in brackets the smallest and
the largest."""
ALIKE = """\
Alike on all sides: one core, for all processes of a server together; a backlog of 1024; the
kernel's default socket buffers; reads of 64 KiB, but for uvloop, whose buffer of 250 KiB cannot be
changed, asyncio streams, and our reactors: 16 KiB of each of many connections, 124 KiB of a single
one. (asyncio comes with reads of 256 KiB, which cost it more than half of its rate; its
``Protocol`` is given ours.) TCP_NODELAY is set, but for the bare ``socketserver``
programs, whose single small reply nothing holds back. The generator's sockets use Reno, the
servers' the system's default congestion control."""
MEMORY = """\
User memory is the growth of the server's PSS from 100 to 10 000 connections, each of which had one
message echoed and waits; what the kernel holds for a socket is not in it. The new client comes
while they wait, 20 times a run, and its time is from connect() to the whole reply."""


def render(results: Results) -> str:
    """Return the report of `results` as reStructuredText."""
    comparisons = results["settings"]["comparisons"]
    measures = {comparison["measure"] for comparison in comparisons}
    parts = [settings(results, _fields(results)), HOW.format(rounds=ROUNDS, other="peer"), ALIKE]
    parts += [MEMORY] if "idle" in measures else []
    for measure, title in TITLES.items():
        rows = [_row(results, c) for c in comparisons if c["measure"] == measure]
        if rows:
            parts.append(table(title, _IDLE_HEADERS if measure == "idle" else _HEADERS, rows))
    return "\n\n".join([*parts, *failures(results)]) + "\n"


def _fields(results: Results) -> dict[str, str]:
    if not results["settings"]["null"]:
        return {}
    return {"Null run": "'ours' is the peer too: the ratios are this machine's noise"}


def _row(results: Results, comparison: dict[str, Any]) -> Row:
    key = Key(comparison["measure"], comparison["mode"], comparison["peer"])
    target = comparison["target"]
    if key.measure == "idle":
        headers, cells = _IDLE_HEADERS, _idle_cells(results, key, target)
    else:
        headers, cells = _HEADERS, _rate_cells(results, key, target)
    return [f"``{key.mode}``", key.other, *(cells or ["failed", *["-"] * (len(headers) - 3)])]


def _rate_cells(results: Results, key: Key, target: float) -> Row | None:
    cells = rate_cells(results, key)
    return cells and [f"{target:g}", *cells, rate_verdict(results, key, target)]


def _idle_cells(results: Results, key: Key, target: float) -> Row | None:
    memory = pairs_of(results, key)
    if memory is None:
        return None
    sides = ("ours", key.other)
    rounds = by_round(results, key.measure, key.mode, sides, "next_client")
    waits = {side: [wait for values in rounds for wait in values[side]] for side in sides}
    verdict = verdict_below([target * value for value in memory.reference], memory.ours)
    in_time = max(waits["ours"]) <= NEXT_CLIENT_LIMIT
    return [
        f"{target:g}",
        f"{statistics.median(memory.ours):,.0f}",
        f"{statistics.median(memory.reference):,.0f}",
        spread(memory),
        interval(memory),
        *[f"{statistics.median(w) * 1e3:.2f}, {max(w) * 1e3:.2f}" for w in waits.values()],
        verdict,
        ", ".join(["reached" if in_time else "missed", *flags(results, key)]),
    ]


_HEADERS = ["mode", "peer", "to reach", *(h.replace("other", "peer's") for h in RATE_HEADERS)]
_HEADERS += ["verdict"]
_IDLE_HEADERS = ["mode", "peer", "at most", "ours", "peer's", "ratio", "95 % interval"]
_IDLE_HEADERS += ["new client: ours (median, most)", "peer's", "memory", "new client"]

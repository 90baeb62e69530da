"""The report of `socketserver_modes.py`: its tables, what is to be reached, how to read them."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from tables import (
    HOW,
    RATE_HEADERS,
    Key,
    Results,
    Row,
    by_round,
    failures,
    pairs_of,
    rate_cells,
    rate_verdict,
    settings,
    spread,
    table,
    verdict_below,
)

START_FACTOR, START_EXTRA = 1.3, 0.030  # to reach: bare `python -c pass`, times and plus seconds
SHUTDOWN_LIMIT = 0.010  # seconds
TITLES = {
    "messages-1": "Messages a second, 1 connection, 64 bytes; to reach: ratio 1.0",
    "messages-50": "Messages a second, 50 connections, 64 bytes; to reach: ratio 1.0",
    "churn": "Connections a second, 8 at a time, one message of 64 bytes each; to reach: ratio 1.2",
    "start": "Start to first echo, milliseconds; to reach: 1.3 x (python -c pass) + 30",
    "shutdown": "shutdown() while serving, milliseconds; to reach: below 10 at most",
}
TARGETS = {"messages-1": 1.0, "messages-50": 1.0, "churn": 1.2}

ROUNDS = """\
Every number is from a fresh server process. In each round, every mode and measure came up once in
random order, ours and the bare program right after each other, and which of the two went first
alternated from round to round. A ratio is ours over bare within one pair: the median of the pairs,
and in brackets the smallest and the largest."""
ONE_CORE = """\
One core does not show how a model scales: this compares two programs of one model, not models."""


def render(results: Results) -> str:
    """Return the report of `results` as reStructuredText."""
    parts = [settings(results, _fields(results)), HOW.format(rounds=ROUNDS, other="bare"), ONE_CORE]
    for measure, title in TITLES.items():
        rows = [_row(results, measure, mode) for mode in _modes(results, measure)]
        if rows:
            parts.append(table(title, _HEADERS[measure], rows))
    if any(r["measure"] == "messages-50" for r in results["records"]):
        parts.append(
            "``tcp`` has no row with 50 connections: an iterative server serves one connection\n"
            "until it closes, and the other 49 would wait for ever."
        )
    return "\n\n".join([*parts, *failures(results)]) + "\n"


def _fields(results: Results) -> dict[str, str]:
    chosen = results["settings"]
    fields = {"Differences": "; ".join(chosen["differences"] or ["none of those looked for"])}
    if chosen["null"]:
        fields["Null run"] = "'ours' is the bare program too: the ratios are this machine's noise"
    return fields


def _modes(results: Results, measure: str) -> list[str]:
    """Return the modes with results for `measure`, in the order the user gave."""
    seen = {r["mode"] for r in results["records"] if r["measure"] == measure}
    return [mode for mode in results["settings"]["modes"] if mode in seen]


def _row(results: Results, measure: str, mode: str) -> Row:
    cells = _CELLS[measure](results, measure, mode)
    return [f"``{mode}``", *(cells or ["failed", *["-"] * (len(_HEADERS[measure]) - 2)])]


def _rate_cells(results: Results, measure: str, mode: str) -> Row | None:
    key = Key(measure, mode, "bare")
    cells = rate_cells(results, key)
    return cells and [*cells, rate_verdict(results, key, TARGETS[measure])]


def _start_cells(results: Results, measure: str, mode: str) -> Row | None:
    sides = ("ours", "bare", "python")
    rounds = by_round(results, measure, mode, sides, "value")
    pairs = pairs_of(results, Key(measure, mode, "bare"))
    if not rounds or pairs is None:
        return None
    limits = [START_FACTOR * values["python"] + START_EXTRA for values in rounds]
    medians = [statistics.median(values[side] for values in rounds) for side in sides]
    return [
        *[f"{value * 1e3:.0f}" for value in [*medians, statistics.median(limits)]],
        spread(pairs),
        verdict_below(limits, [values["ours"] for values in rounds]),
    ]


def _shutdown_cells(results: Results, measure: str, mode: str) -> Row | None:
    pairs = pairs_of(results, Key(measure, mode, "bare"))
    if pairs is None:
        return None
    cells = []
    for values in (pairs.ours, pairs.reference):
        cells += [f"{statistics.median(values) * 1e3:.2f}", f"{max(values) * 1e3:.2f}"]
    return [*cells, "reached" if max(pairs.ours) < SHUTDOWN_LIMIT else "missed"]


_CELLS: dict[str, Callable[[Results, str, str], Row | None]] = {
    "messages-1": _rate_cells,
    "messages-50": _rate_cells,
    "churn": _rate_cells,
    "start": _start_cells,
    "shutdown": _shutdown_cells,
}
_RATE_HEADERS = ["mode", *(h.replace("other", "bare") for h in RATE_HEADERS), "verdict"]
_HEADERS = {
    "messages-1": _RATE_HEADERS,
    "messages-50": _RATE_HEADERS,
    "churn": _RATE_HEADERS,
    "start": ["mode", "ours", "bare", "python -c pass", "limit", "ours / bare", "verdict"],
    "shutdown": ["mode", "ours, median", "ours, most", "bare, median", "bare, most", "verdict"],
}

"""From saved results to reStructuredText: the tables, the machine, how to read them.

It reads only what `socketserver_modes.py` saved, so a table can be made again from the raw runs.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pairs import Pairs

Results = dict[str, Any]
Row = list[str]

START_FACTOR, START_EXTRA = 1.3, 0.030  # to reach: bare `python -c pass`, times and plus seconds
SHUTDOWN_LIMIT = 0.010  # seconds
GENERATOR_LIMIT = 0.9  # of its core; beyond it the generator may have set the rate
TITLES = {
    "messages-1": "Messages a second, 1 connection, 64 bytes; to reach: ratio 1.0",
    "messages-50": "Messages a second, 50 connections, 64 bytes; to reach: ratio 1.0",
    "churn": "Connections a second, 8 at a time, one message of 64 bytes each; to reach: ratio 1.2",
    "start": "Start to first echo, milliseconds; to reach: 1.3 x (python -c pass) + 30",
    "shutdown": "shutdown() while serving, milliseconds; to reach: below 10 at most",
}
TARGETS = {"messages-1": 1.0, "messages-50": 1.0, "churn": 1.2}

HOW = """\
Every number is from a fresh server process. In each round, every mode and measure came up once in
random order, ours and the bare program right after each other, and which of the two went first
alternated from round to round. A ratio is ours over bare within one pair: the median of the pairs,
and in brackets the smallest and the largest. The 95 % interval is the sign test's for the median
ratio; it takes 6 rounds. *Reached* and *missed* mean that the whole interval lies on that side of
what is to be reached; *no difference* that it spans 1.0; *undecided* that it spans another target.
"CPU" is the time of server and generator together, in microseconds a message (ours / bare): over
loopback a part of the receiver's work is billed to the sender. *Generator-limited* marks rows where
the generator used more than 90 % of its core, so that the servers may be faster than it shows. The
generator verifies every byte of every reply and does not count the first fifth of a run. One core
does not show how a model scales: this compares two programs of one model, not models."""


def render(results: Results) -> str:
    """Return the report of `results` as reStructuredText."""
    parts = [_settings(results), HOW]
    for measure, title in TITLES.items():
        rows = list(_rows(results, measure))
        if rows:
            parts.append(_table(title, _HEADERS[measure], rows))
    if any(r["measure"] == "messages-50" for r in results["records"]):
        parts.append(
            "``tcp`` has no row with 50 connections: an iterative server serves one connection\n"
            "until it closes, and the other 49 would wait for ever."
        )
    failures = [f"* {_where(r)}: {r['failure']}" for r in results["records"] if "failure" in r]
    if failures:
        parts.append("Failed:\n\n" + "\n".join(failures))
    return "\n\n".join(parts) + "\n"


def _settings(results: Results) -> str:
    """Return the machine and the settings as a field list."""
    settings, fields = results["settings"], dict(results["machine"])
    fields["Rounds"] = "{rounds}, {seconds:g} s a run, seed {seed}".format(**settings)
    fields["Cores used"] = (
        "server pinned to one, generator to another (a forking server's children share its core)"
        if settings["pinned"]
        else "not pinned"
    )
    fields["Differences"] = "; ".join(settings["differences"] or ["none of those looked for"])
    if settings["null"]:
        fields["Null run"] = "'ours' is the bare program too: the ratios are this machine's noise"
    return "\n".join(f":{name}: {value}" for name, value in fields.items())


def _where(record: dict[str, Any]) -> str:
    return f"{record['measure']} {record['mode']} {record['side']} (round {record['round']})"


def _modes(results: Results, measure: str) -> list[str]:
    """Return the modes with results for `measure`, in the order the user gave."""
    seen = {r["mode"] for r in results["records"] if r["measure"] == measure}
    return [mode for mode in results["settings"]["modes"] if mode in seen]


def _by_round(results: Results, measure: str, mode: str, field: str) -> list[dict[str, float]]:
    """Return {side: value of `field`} for every round in which all sides succeeded."""
    rounds: dict[int, dict[str, float]] = {}
    for r in results["records"]:
        if (r["measure"], r["mode"]) == (measure, mode) and field in r:
            rounds.setdefault(r["round"], {})[r["side"]] = r[field]
    sides = 3 if measure == "start" else 2
    return [values for values in rounds.values() if len(values) == sides]


def _rows(results: Results, measure: str) -> Iterable[Row]:
    for mode in _modes(results, measure):
        rounds = _by_round(results, measure, mode, "value")
        if rounds:
            yield [f"``{mode}``", *_CELLS[measure](results, measure, mode, rounds)]
        else:
            yield [f"``{mode}``", "failed", *["-"] * (len(_HEADERS[measure]) - 2)]


def _rate_cells(results: Results, measure: str, mode: str, rounds: list[dict[str, float]]) -> Row:
    pairs = _pairs(rounds)
    cpu = _pairs(_by_round(results, measure, mode, "cpu_us_per_message"))
    verdict = ", ".join([pairs.verdict(TARGETS[measure]), *_flags(results, measure, mode)])
    return [
        f"{statistics.median(pairs.ours):,.0f}",
        f"{statistics.median(pairs.reference):,.0f}",
        _spread(pairs),
        "{:.2f} - {:.2f}".format(*pairs.interval),
        f"{statistics.median(cpu.ours):.1f} / {statistics.median(cpu.reference):.1f}",
        f"{cpu.ratio:.2f}",
        verdict,
    ]


def _start_cells(
    _results: Results, _measure: str, _mode: str, rounds: list[dict[str, float]]
) -> Row:
    limits = tuple(START_FACTOR * values["python"] + START_EXTRA for values in rounds)
    margin = Pairs(limits, tuple(values["ours"] for values in rounds))
    medians = [statistics.median(v[side] for v in rounds) for side in ("ours", "bare", "python")]
    return [
        *[f"{value * 1e3:.0f}" for value in [*medians, statistics.median(limits)]],
        _spread(_pairs(rounds)),
        margin.verdict(1).replace("no difference", "undecided"),
    ]


def _shutdown_cells(
    _results: Results, _measure: str, _mode: str, rounds: list[dict[str, float]]
) -> Row:
    cells = []
    for side in ("ours", "bare"):
        values = [r[side] * 1e3 for r in rounds]
        cells += [f"{statistics.median(values):.2f}", f"{max(values):.2f}"]
    return [*cells, "reached" if max(r["ours"] for r in rounds) < SHUTDOWN_LIMIT else "missed"]


def _pairs(rounds: list[dict[str, float]]) -> Pairs:
    return Pairs(tuple(r["ours"] for r in rounds), tuple(r["bare"] for r in rounds))


def _spread(pairs: Pairs) -> str:
    return f"{pairs.ratio:.2f} ({pairs.ratios[0]:.2f} ... {pairs.ratios[-1]:.2f})"


def _flags(results: Results, measure: str, mode: str) -> list[str]:
    """Return what a reader has to know about the runs behind a row."""
    records = [r for r in results["records"] if (r["measure"], r["mode"]) == (measure, mode)]
    loads = [r["load"] for r in records if "load" in r]
    totals = {counter: sum(load[counter] for load in loads) for counter in ("errors", "lost")}
    flags = [f"{counter} {total}" for counter, total in totals.items() if total]
    if any(r.get("generator_share", 0) > GENERATOR_LIMIT for r in records):
        flags.append("generator-limited")
    return flags


_CELLS: dict[str, Callable[[Results, str, str, list[dict[str, float]]], Row]] = {
    "messages-1": _rate_cells,
    "messages-50": _rate_cells,
    "churn": _rate_cells,
    "start": _start_cells,
    "shutdown": _shutdown_cells,
}
_RATE_HEADERS = ["mode", "ours", "bare", "ratio", "95 % interval", "CPU", "CPU ratio", "verdict"]
_HEADERS = {
    "messages-1": _RATE_HEADERS,
    "messages-50": _RATE_HEADERS,
    "churn": _RATE_HEADERS,
    "start": ["mode", "ours", "bare", "python -c pass", "limit", "ours / bare", "verdict"],
    "shutdown": ["mode", "ours, median", "ours, most", "bare, median", "bare, most", "verdict"],
}


def _table(title: str, header: Row, rows: Sequence[Row]) -> str:
    """Return a simple table with a title."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    rule = "  ".join("=" * width for width in widths)
    body = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    table = [rule, body[0], rule, *body[1:], rule]
    return "\n".join([f".. table:: {title}", "", *(f"   {line}" for line in table)])

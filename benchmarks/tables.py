"""From saved results to reStructuredText: what the reports of all benchmarks have in common.

A report reads only what was saved, so a table can be made again from the raw runs. A row compares
the side "ours" of a mode with another side, pair by pair.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from pairs import Pairs

Results = dict[str, Any]
Record = dict[str, Any]
Row = list[str]

GENERATOR_LIMIT = 0.9  # of its core; beyond it the generator may have set the rate

HOW = """\
{rounds}
The 95 % interval is the sign test's for the median ratio; it takes 6 rounds. *Reached* and *missed*
mean that the whole interval lies on that side of what is to be reached; *no difference* that it
spans 1.0; *undecided* that it spans another target. "Server busy" is the share of its core that the
server's processes took (ours / {other}); well below 100 % something else set the rate. "CPU" is the
time of server and generator together, in microseconds a message: over loopback a part of the
receiver's work is billed to the sender. *Generator-limited* names the sides whose load took more
than 90 % of the generator's core (median of the runs), so that they may be faster than the row
shows. The generator verifies every byte of every reply and does not count the first fifth of a
run."""


class Key(NamedTuple):
    """Which runs a row is about: ours in `mode`, and those of `other` beside them."""

    measure: str
    mode: str
    other: str


def settings(results: Results, more: dict[str, str]) -> str:
    """Return the machine and the settings as a field list; `more` fields at the end."""
    chosen, fields = results["settings"], dict(results["machine"])
    fields["Rounds"] = "{rounds}, {seconds:g} s a run, seed {seed}".format(**chosen)
    fields["Cores used"] = (
        "server pinned to one, generator to another (all processes of a server share its core)"
        if chosen["pinned"]
        else "not pinned"
    )
    return "\n".join(f":{name}: {value}" for name, value in (fields | more).items())


def failures(results: Results) -> list[str]:
    """Return a paragraph about the runs that failed, if any did."""
    lines = [
        "* {measure} {mode} {side} (round {round}): {failure}".format(**record)
        for record in results["records"]
        if "failure" in record
    ]
    return ["Failed:\n\n" + "\n".join(lines)] if lines else []


def by_round(results: Results, measure: str, mode: str, sides: Sequence[str], field: str) -> Any:
    """Return [{side: value of `field`}] of the rounds in which all `sides` have one."""
    rounds: dict[int, dict[str, Any]] = {}
    for r in results["records"]:
        if (r["measure"], r["mode"]) == (measure, mode) and r["side"] in sides and field in r:
            rounds.setdefault(r["round"], {})[r["side"]] = r[field]
    return [values for values in rounds.values() if len(values) == len(sides)]


def pairs_of(results: Results, key: Key, field: str = "value") -> Pairs | None:
    """Return ours and the other's, paired by round; None when no round has both."""
    rounds = by_round(results, key.measure, key.mode, ("ours", key.other), field)
    if not rounds:
        return None
    return Pairs(tuple(r["ours"] for r in rounds), tuple(r[key.other] for r in rounds))


RATE_HEADERS = ["ours", "other", "ratio", "95 % interval", "server busy", "CPU", "CPU ratio"]


def rate_cells(results: Results, key: Key) -> Row | None:
    """Return the cells under `RATE_HEADERS`; None when there is nothing to show."""
    rates, cpu = pairs_of(results, key), pairs_of(results, key, "cpu_us_per_message")
    busy = pairs_of(results, key, "server_share")
    if rates is None or cpu is None or busy is None:
        return None
    return [
        f"{statistics.median(rates.ours):,.0f}",
        f"{statistics.median(rates.reference):,.0f}",
        spread(rates),
        interval(rates),
        medians(busy, ".0%"),
        medians(cpu, ".1f"),
        f"{cpu.ratio:.2f}",
    ]


def rate_verdict(results: Results, key: Key, target: float) -> str:
    """Return whether the ratio reaches `target`, and what a reader has to know about the runs."""
    pairs = pairs_of(results, key)
    return ", ".join([pairs.verdict(target) if pairs else "failed", *flags(results, key)])


def verdict_below(limits: Sequence[float], values: Sequence[float]) -> str:
    """Return whether `values` stay below the `limits` beside them."""
    return Pairs(tuple(limits), tuple(values)).verdict(1).replace("no difference", "undecided")


def spread(pairs: Pairs) -> str:
    """Return the median ratio and, in brackets, the smallest and the largest."""
    return f"{pairs.ratio:.2f} ({pairs.ratios[0]:.2f} ... {pairs.ratios[-1]:.2f})"


def interval(pairs: Pairs) -> str:
    """Return the confidence interval of the median ratio."""
    return "{:.2f} - {:.2f}".format(*pairs.interval)


def medians(pairs: Pairs, form: str) -> str:
    """Return the medians of both sides."""
    sides = (pairs.ours, pairs.reference)
    return " / ".join(format(statistics.median(side), form) for side in sides)


def flags(results: Results, key: Key) -> list[str]:
    """Return what a reader has to know about the runs behind a row."""
    records = [
        r
        for r in results["records"]
        if (r["measure"], r["mode"]) == key[:2] and r["side"] in ("ours", key.other)
    ]
    loads = [r["load"] for r in records if "load" in r]
    totals = {counter: sum(load[counter] for load in loads) for counter in ("errors", "lost")}
    found = [f"{counter} {total}" for counter, total in totals.items() if total]
    if any(r.get("server_said") for r in records):
        found.append("a server wrote errors")
    limited = [side for side in ("ours", key.other) if _is_generator_limited(records, side)]
    if limited:
        found.append(f"generator-limited: {', '.join(limited)}")
    return found


def _is_generator_limited(records: Sequence[Record], side: str) -> bool:
    shares = [r["generator_share"] for r in records if r["side"] == side and "generator_share" in r]
    return bool(shares) and statistics.median(shares) > GENERATOR_LIMIT


def table(title: str, header: Row, rows: Sequence[Row]) -> str:
    """Return a simple table with a title."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    rule = "  ".join("=" * width for width in widths)
    body = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    table = [rule, body[0], rule, *body[1:], rule]
    return "\n".join([f".. table:: {title}", "", *(f"   {line}" for line in table)])

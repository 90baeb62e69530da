"""Rounds of measurements, and what the command lines of all benchmark scripts have in common.

A round measures every cell once, in random order; the programs of a cell run right after each
other, each in turn as the first. What fails is recorded, and the rest goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import BenchmarkError, Cores, clean_environment, compiled_programs
from machine import describe_machine, load_average
from measures import Bench, Measure, Record, Side, Start

Results = dict[str, Any]

# Many short runs beat a few long ones: a process differs from the next (memory layout, hash seed)
# for all its life. An even number of rounds, so that each side goes first as often as the other.
ROUNDS = 12
SECONDS = 1.0
SHORTEST = 0.2  # seconds; of less, nothing is left beside the warm-up


@dataclass(frozen=True)
class Cell:
    """Programs that are compared by one measure; a mode of ours names the cell."""

    measure: Measure
    mode: str
    sides: tuple[Side, ...]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every script has."""
    add = parser.add_argument
    pin = argparse.BooleanOptionalAction
    add("--rounds", type=int, default=ROUNDS, help="pairs of runs (default: %(default)s)")
    add("--seconds", type=float, default=SECONDS, help="of load in a run (default: %(default)s)")
    add("--pin", action=pin, default=True, help="give server and generator a core each (default)")
    add("--null", action="store_true", help="compare the other program with itself")
    add("--seed", type=int, default=1, help="of the random order (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="save the raw runs")
    add("--render", type=Path, metavar="FILE", help="print the table of saved runs and end")


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line; ends the program when they make no sense."""
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seconds < SHORTEST:
        parser.error(f"it takes a round at least, and {SHORTEST:g} seconds")
    return options


def run(
    options: argparse.Namespace,
    cells_of: Callable[[Path], Sequence[Cell]],
    settings: dict[str, Any],
    render: Callable[[Results], str],
) -> int:
    """Measure, save and print; 1 when a measurement failed, else 0.

    `cells_of` is given the directory of the compiled C programs; `settings` are saved beside the
    common ones; `render` makes the report.
    """
    results: Results = {
        "machine": describe_machine(),
        "settings": describe_settings(options) | settings,
        "records": [],
    }
    with (
        contextlib.suppress(KeyboardInterrupt),  # what was measured so far is still reported
        compiled_programs() as programs,
        clean_environment() as environment,
    ):
        cores = Cores.choose(options.pin)
        bench = Bench(programs / "loadgen", cores, environment, options.seconds)
        measure_all(bench, cells_of(programs), options, results["records"])
    results["machine"]["Load average after"] = load_average()
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(render(results), end="")
    return int(any("failure" in record for record in results["records"]))


def describe_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the results depend on besides the machine."""
    return {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "seed": options.seed,
        "pinned": Cores.choose(options.pin).pinned,
        "null": options.null,
    }


def measure_all(
    bench: Bench, cells: Sequence[Cell], options: argparse.Namespace, records: list[Record]
) -> None:
    """Fill `records`, round by round."""
    order = random.Random(options.seed)
    turns = [(cell, order.randrange(len(cell.sides))) for cell in cells]
    warm_up(bench, cells)
    for turn in range(options.rounds):
        order.shuffle(turns)
        for number, (cell, offset) in enumerate(turns, 1):
            progress = f"round {turn + 1}, {number} of {len(turns)}"
            print(f"{progress}: {cell.measure.name} {cell.mode}", file=sys.stderr)
            first = (turn + offset) % len(cell.sides)
            for side in cell.sides[first:] + cell.sides[:first]:
                what = {"round": turn, "measure": cell.measure.name, "mode": cell.mode}
                outcome = measure_once(bench, cell.measure, side, cell.mode)
                records.append(what | {"side": side.name} | outcome)


def warm_up(bench: Bench, cells: Sequence[Cell]) -> None:
    """Start everything once, so that its files are cached and its bytecode is there."""
    programs = {
        tuple(side.command(cell.mode)): (side, cell) for cell in cells for side in cell.sides
    }
    for side, cell in programs.values():
        measure_once(bench, Start(), side, cell.mode)


def measure_once(bench: Bench, measure: Measure, side: Side, mode: str) -> Record:
    """Return one record; a measurement that fails says so instead of ending the run."""
    try:
        return measure.run(bench, side, mode)
    except (BenchmarkError, OSError) as error:
        print(f"{measure.name} {mode} {side.name}: {error}", file=sys.stderr)
        return {"failure": " ".join(str(error).split())}

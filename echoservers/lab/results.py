"""What was measured: the only thing that the stages of the lab share.

`Results` is saved as ``results.json``, whose keys are the attributes of these classes, and
as ``results.csv`` with every single run in a row.  ``docs/results.rst`` describes both.
Saving replaces the file as a whole: after a crash there is the old one or the new one.
"""

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import math
import time
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..errors import EchoServersError
from .files import replace_all

__all__ = [
    "CSV",
    "JSON",
    "SCHEMA",
    "Cell",
    "Experiment",
    "Figure",
    "Ratio",
    "Results",
    "ResultsError",
    "Saver",
    "Subject",
    "csv_rows",
    "load",
    "make_folder",
    "save",
]

SCHEMA = 1
"""Goes up when a reader of the old one would misunderstand the new one."""

SAVE_EVERY = 2.0
"""Seconds: what a crash may cost at most.  A large file takes some tenths of one to write."""

JSON, CSV = "results.json", "results.csv"

T = TypeVar("T")


class ResultsError(EchoServersError):
    """Saved results that cannot be read, or a folder that cannot be used."""


@dataclass
class Figure:
    """One measured quantity of one cell."""

    median: float
    low: float | None
    high: float | None
    unit: str
    runs: list[float | None]
    """One a round; None where that round has none."""
    better: str | None = None


@dataclass
class Cell:
    """One target under one setting of the parameters."""

    target: str
    parameters: dict[str, int | float | str]
    limited_by: str | None = None
    error: str | None = None
    notes: list[str] = field(default_factory=list)
    """Remarks; what follows a semicolon explains one, and does not stand in a table."""
    figures: dict[str, Figure] = field(default_factory=dict)
    series: dict[str, Any] = field(default_factory=dict)


@dataclass
class Ratio:
    """A figure of a target, over the same figure of the baseline."""

    target: str
    parameters: dict[str, int | float | str]
    figure: str
    baseline: str
    median: float
    low: float | None
    high: float | None
    verdict: str


@dataclass
class Experiment:
    """One question, asked to every target."""

    name: str
    title: str
    question: str
    shows: str
    parameter: str
    unit: str
    values: list[int | float | str]
    repeats: int
    duration: float
    warmup: float
    panel: str | None = None
    """A second parameter, that makes a picture for each of its values; or None."""
    cells: list[Cell] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)


@dataclass
class Subject:
    """A target, as it is described in the results."""

    name: str
    transport: str
    model: str | None = None
    mode: str | None = None
    command: list[str] | None = None
    endpoint: str | None = None
    reference: bool = False
    """Nobody asked for it: it is measured where an experiment needs it to compare with."""


@dataclass(kw_only=True)
class Results:
    """Everything that one call of ``compare`` has measured."""

    schema: int = SCHEMA
    created: str
    command: list[str]
    seed: int
    environment: dict[str, Any]
    targets: list[Subject]
    baseline: str | None = None
    calibration: list[dict[str, Any]] = field(default_factory=list)
    experiments: list[Experiment] = field(default_factory=list)
    finished: bool = False


# --- reading --------------------------------------------------------------------------


def load(folder: Path) -> Results:
    """The results saved in *folder*, or in the file that it is.

    :raises ResultsError: there are none, or not of this schema.
    """
    path = folder / JSON if folder.is_dir() else folder
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{path}: there are no results; `compare --output` makes some") from None
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ResultsError(f"{path} is not JSON: {error}") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, int):
        raise ResultsError(f"{path} was not written by `compare`: it has no schema number")
    if schema != SCHEMA:
        age = "a newer" if schema > SCHEMA else "an older"
        raise ResultsError(
            f"{path} was written by {age} echoservers, in schema {schema}; this one reads {SCHEMA}"
        )
    try:
        return _decoded(Results, data)
    except _Wrong as wrong:
        raise ResultsError(f"{path} is damaged: {wrong}") from None


class _Wrong(Exception):
    """Where in the file, and what was expected there."""


def _decoded(kind: type[T], data: Any, where: str = "") -> T:
    if not isinstance(data, dict):
        raise _Wrong(f"{where or 'the whole'} should be an object")
    hints = typing.get_type_hints(kind)
    values = {}
    for each in dataclasses.fields(kind):  # type: ignore[arg-type]
        place = f"{where}.{each.name}".lstrip(".")
        if each.name in data:
            values[each.name] = _value(hints[each.name], data[each.name], place)
        elif each.default is each.default_factory is dataclasses.MISSING:
            raise _Wrong(f"{place} is missing")
    return kind(**values)


def _value(kind: Any, data: Any, where: str) -> Any:
    """*data* as the annotation *kind* has it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return _one_of(arguments, data, where)
    if origin is list and isinstance(data, list):
        return [_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(data)]
    if origin is dict and isinstance(data, dict):
        return {key: _value(arguments[1], item, f"{where}.{key}") for key, item in data.items()}
    if dataclasses.is_dataclass(kind):
        return _decoded(kind, data, where)  # type: ignore[arg-type]
    if kind is Any:
        return data
    if kind is float and type(data) is int:
        return float(data)
    if isinstance(data, origin or kind) and (kind is bool) == isinstance(data, bool):
        return data
    raise _Wrong(f"{where} should be {getattr(origin or kind, '__name__', kind)}, not {data!r:.50}")


def _one_of(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    for kind in kinds:
        if kind is type(None):
            if data is None:
                return None
        else:
            with contextlib.suppress(_Wrong):
                return _value(kind, data, where)
    names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
    raise _Wrong(f"{where} should be {names}, not {data!r:.50}")


# --- writing --------------------------------------------------------------------------


def make_folder(wanted: Path | None, default: Path) -> Path:
    """A folder for new results, in which there is nothing.

    :param wanted: what the user asked for; None: *default*, or *default* with a number.
    :raises ResultsError: it holds something already.
    :raises OSError: it cannot be made.
    """
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=wanted.is_dir())
        if any(wanted.iterdir()):
            raise ResultsError(
                f"{wanted} is not empty, and earlier results are never overwritten;"
                " give an --output that is new"
            )
        return wanted
    default.parent.mkdir(parents=True, exist_ok=True)
    folder, number = default, 1
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = default.with_name(f"{default.name}-{number}")
        else:
            return folder


def save(results: Results, folder: Path) -> None:
    """Write both files of *results* into *folder*, as a whole or not at all.

    :raises OSError: they cannot be written; what was there before still is.
    """
    # What is still growing is written often, and ten times as fast without the indent.
    indent = 1 if results.finished else None
    text = json.dumps(results, default=vars, indent=indent, allow_nan=False, ensure_ascii=False)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(csv_rows(results))
    files = {folder / JSON: text + "\n", folder / CSV: table.getvalue()}
    encoded = {path: content.encode() for path, content in files.items()}
    replace_all(encoded, f"the results in {folder}")


class Saver:
    """Saves results as they grow, not so often that it would take the machine's time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._saved = -math.inf
        self.latest: Results | None = None
        """What was last handed over; None: nothing was."""

    def keep(self, results: Results) -> None:
        """Save *results* now, or soon: `flush` must be called at the end.

        :raises OSError: as `save` does.
        """
        self.latest = results
        if results.finished or time.monotonic() - self._saved >= SAVE_EVERY:
            self.flush()

    def flush(self) -> None:
        """Save what has not been saved.

        :raises OSError: as `save` does.
        """
        if self.latest is not None:
            save(self.latest, self._folder)
            self._saved = time.monotonic()


_COLUMNS = (
    *("experiment", "target", "parameter", "at", "panel", "panel_at"),
    *("figure", "unit", "round", "value", "limited_by", "error", "over_baseline"),
)


def csv_rows(results: Results) -> Iterator[tuple[Any, ...]]:
    """The rows of ``results.csv``: its head, then one for each figure of each run."""
    yield _COLUMNS
    for experiment in results.experiments:
        others = _baselines(experiment)
        panel = experiment.panel
        for cell in experiment.cells:
            at = cell.parameters.get(experiment.parameter)
            panel_at = None if panel is None else cell.parameters.get(panel)
            begin = (experiment.name, cell.target, experiment.parameter, at, panel, panel_at)
            end = (cell.limited_by, cell.error)
            for name, figure in cell.figures.items():
                held = others.get((cell.target, _setting(cell), name), [])
                pairs = itertools.zip_longest(figure.runs, held[: len(figure.runs)])
                for number, (value, other) in enumerate(pairs, 1):
                    if value is not None:
                        over = value / other if other else None
                        yield (*begin, name, figure.unit, number, value, *end, over)
            if not cell.figures:
                yield (*begin, None, None, None, None, *end, None)


def _baselines(experiment: Experiment) -> dict[tuple[str, str, str], list[float | None]]:
    """The runs that those of a figure were held against, one a round."""
    runs = {
        (cell.target, _setting(cell), name): figure.runs
        for cell in experiment.cells
        for name, figure in cell.figures.items()
    }
    return {
        (ratio.target, _setting(ratio), ratio.figure): runs.get(
            (ratio.baseline, _setting(ratio), ratio.figure), []
        )
        for ratio in experiment.ratios
    }


def _setting(of: Cell | Ratio) -> str:
    return repr(sorted(of.parameters.items()))

"""An experiment of the user's own, as a TOML file; ``docs/results.rst`` has an example."""

import dataclasses
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from ..hints import did_you_mean
from .experiments import EXPERIMENTS, Experiment, Parameters, Sample, Timing
from .experiments.base import DATAGRAMS, STREAM
from .load import LoadPlan

if TYPE_CHECKING:
    from .bench import Bench

__all__ = ["read_experiment"]

_TEXTS = ("name", "title", "question", "shows")
_TABLES = {
    "load": None,
    "sweep": ("parameter", "values", "unit"),
    "run": ("duration", "warmup", "repeats"),
    "server": None,
}
_RUN_LIMITS = {"duration": (0.05, 3600), "warmup": (0, 3600), "repeats": (1, 1000)}
"""As those of ``--duration``, ``--warmup`` and ``--repeats``; seconds."""

_GIVEN_BY_US = ("endpoint", "duration", "warmup", "seed", "timeout")


def read_experiment(path: Path) -> Experiment:
    """The experiment that the file describes.

    :raises OptionError: it cannot be read, or is none; the message says where.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is not TOML: {error}") from None
    try:
        return _experiment(data)
    except (OptionError, TypeError) as error:
        raise OptionError(f"{path}: {error}") from None


def _experiment(data: dict[str, Any]) -> Experiment:
    _check_words(data, (*_TEXTS, *_TABLES), "the file")
    for name in ("name", "question"):
        if not isinstance(data.get(name), str) or not data[name].strip():
            raise OptionError(f"{name} is missing; it is a text")
    if data["name"] in EXPERIMENTS:
        raise OptionError(f"name = {data['name']!r} is the name of one of ours; choose another")
    tables = {name: _table(data, name, known) for name, known in _TABLES.items()}
    load, sweep, run = tables["load"], tables["sweep"], tables["run"]
    parameter, values = sweep.get("parameter"), sweep.get("values")
    if not isinstance(parameter, str) or not isinstance(values, list) or not values:
        raise OptionError("[sweep] needs a parameter and a list of values")
    transports = DATAGRAMS if load.get("shape") == "datagram" else STREAM | DATAGRAMS
    if load.get("shape") == "churn":
        transports = STREAM
    plans = [_checked_plan({**load, parameter: value}, transports) for value in values]
    options = tables["server"]

    def measure(bench: "Bench", parameters: Parameters) -> Sample:
        plan = _plan(dict(parameters))
        return bench.sample(bench.load(plan.pop("shape", "closed"), **plan))

    return Experiment(
        name=data["name"],
        title=data.get("title", data["name"]),
        question=data["question"],
        shows=data.get("shows", ""),
        parameter=parameter,
        unit=str(sweep.get("unit", "")),
        values=tuple(values),
        fixed={name: value for name, value in load.items() if name != parameter},
        timing=_timing(run),
        quick_timing=_timing({"duration": 0.3, "warmup": 0.1, "repeats": 3} | run),
        transports=transports,
        measure=measure,
        plain=all(plan.is_plain for plan in plans),
        options=lambda _parameters: options,
        demanded=frozenset(options),
    )


def _table(data: dict[str, Any], name: str, known: tuple[str, ...] | None) -> dict[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, dict):
        raise OptionError(f"{name} should be a table: [{name}]")
    if known is not None:
        _check_words(table, known, f"[{name}]")
    return table


def _check_words(data: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for word in data:
        if word not in known:
            hint = did_you_mean(word, known)
            raise OptionError(f"{where} has {word!r}{hint}; known are {', '.join(known)}")


def _plan(load: dict[str, Any]) -> dict[str, Any]:
    """*load* as the arguments of a plan."""
    if isinstance(load.get("message"), str):
        load["message"] = load["message"].encode()
    return load


def _checked_plan(load: dict[str, Any], transports: frozenset[str]) -> LoadPlan:
    """See now, and not after minutes, whether a plan can be made of it.

    :raises OptionError: not.
    """
    names = [each.name for each in dataclasses.fields(LoadPlan) if each.name not in _GIVEN_BY_US]
    _check_words(load, tuple(names), "[load] or [sweep]")
    endpoint = "tcp://127.0.0.1:8007" if "tcp" in transports else "udp://127.0.0.1:8007"
    return LoadPlan(endpoint=endpoint, **_plan(dict(load)))


def _timing(run: dict[str, Any]) -> Timing:
    for name, value in run.items():
        low, high = _RUN_LIMITS[name]
        kind = int if name == "repeats" else int | float
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            what = "a whole number from" if kind is int else "a number from"
            raise OptionError(f"[run] {name} = {value!r}: expected {what} {low} to {high}")
    return Timing(**run)

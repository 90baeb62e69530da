"""The report: one page that needs nothing else, and its pictures and tables as files.

``report.html`` opens without a network and without scripts.  Beside it ``pictures/`` has
every picture as SVG and PNG, ``tables/`` every table as CSV.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import EchoServersError
from ..log import escape
from .against import Comparison, compare_runs
from .canvas import Picture
from .caveats import about_experiment, about_run
from .claims import Sentence
from .files import replace_all
from .plots import pictures_of
from .results import Experiment, Results, Subject
from .sentences import against_baseline, sentences_of
from .tables import LEGEND, LIMITED, Table, csv_of, tables_of
from .units import count, scale_for
from .view import constants, slug, unique

__all__ = ["Section", "render", "sections_of", "write_report"]

PAGE = "report.html"
PICTURES, TABLES = "pictures", "tables"


class Section(NamedTuple):
    """One experiment, ready to be shown."""

    experiment: Experiment
    id: str
    pictures: list[Picture]
    tables: list[Table]
    sentences: list[Sentence]
    baseline: Sentence | None
    """How far the others are from the baseline."""
    caveats: list[str]
    settings: str


def write_report(results: Results, folder: Path, before: Results | None = None) -> list[Path]:
    """Write the report of *results* into *folder*, over one that is there already.

    :param before: an earlier run that this one is held against.
    :returns: the files, the page first.
    :raises EchoServersError: the extra ``lab`` is not installed.
    :raises OSError: they cannot be written.
    """
    sections = sections_of(results)
    comparison = compare_runs(before, results) if before is not None else None
    files: dict[Path, bytes] = {}
    for section in sections:
        for picture in section.pictures:
            for kind, content in (("svg", picture.svg.encode()), ("png", picture.png)):
                files[folder / PICTURES / f"{picture.name}.{kind}"] = content
    tables = [table for section in sections for table in section.tables]
    tables += comparison.tables if comparison else []
    for table in tables:
        files[folder / TABLES / f"{table.name}.csv"] = csv_of(table).encode()
    # Last, so that a page never shows what is not there.
    files[folder / PAGE] = render(results, sections, comparison).encode()
    replace_all(files, f"the report in {folder}")
    return list(reversed(files))


def sections_of(results: Results) -> list[Section]:
    """All experiments of *results* that have measured something."""
    try:
        return [_section(results, e) for e in results.experiments if e.cells]
    except ModuleNotFoundError as error:
        raise EchoServersError(
            f"a report needs {error.name}; pip install 'echoservers[lab]' installs it"
        ) from None


def _section(results: Results, experiment: Experiment) -> Section:
    return Section(
        experiment,
        slug(experiment.name) or "experiment",
        pictures_of(results, experiment),
        tables_of(experiment),
        sentences_of(experiment),
        against_baseline(experiment),
        about_experiment(results, experiment),
        _settings(experiment),
    )


def render(results: Results, sections: Sequence[Section], comparison: Comparison | None) -> str:
    """The page, as text."""
    try:
        import jinja2
        from markupsafe import Markup
    except ModuleNotFoundError as error:
        raise EchoServersError(
            f"a report needs {error.name}; pip install 'echoservers[lab]' installs it"
        ) from None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("echoservers.lab"),
        autoescape=True,  # targets have the names that users gave them
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A picture is markup of our own; names in it have been escaped where it was made.
    environment.filters["line"] = escape
    environment.filters["picture"] = lambda picture: Markup(picture.inline)
    page: str = environment.get_template(PAGE).render(
        results=results,
        sections=sections,
        comparison=comparison,
        caveats=about_run(results),
        machine=_machine(results.environment),
        targets=[
            (escape(s.name), _kind(s, results.baseline), s.transport, _how(s))
            for s in results.targets
        ],
        command=_command(results.command),
        legend=LEGEND,
        limited=LIMITED,
        pictures=PICTURES,
        tables=TABLES,
        repeats=", ".join(str(r) for r in unique(s.experiment.repeats for s in sections)),
    )
    return page


def _settings(experiment: Experiment) -> str:
    parts = [count(experiment.repeats, "run") + " of each"]
    if experiment.duration:
        parts.append(f"{experiment.duration:g} s a run after {experiment.warmup:g} s of warm-up")
    parts += [f"{name} {value}" for name, value in constants(experiment).items()]
    return "; ".join(parts)


def _kind(subject: Subject, baseline: str | None) -> str:
    model = subject.model or "not ours"
    if subject.name == baseline:
        model += " (the baseline)"
    return f"{model} (measured to compare with)" if subject.reference else model


def _how(subject: Subject) -> str:
    if subject.mode:
        return f"--mode {escape(subject.mode)}"
    if subject.command:
        return escape(shlex.join(subject.command), 300)
    return escape(subject.endpoint or "")


def _command(command: Sequence[str]) -> str:
    words = list(command)
    if "compare" not in words[:1]:
        words.insert(0, "compare")
    return escape(f"python -m echoservers {shlex.join(words)}", 4000)


def _machine(environment: dict[str, Any]) -> list[tuple[str, str]]:
    """What the results say about where it was measured, for people."""
    found = [
        ("Processor", environment.get("cpu")),
        ("Processors", _processors(environment)),
        ("Memory", _memory(environment)),
        ("System", environment.get("system")),
        ("Kernel", environment.get("kernel")),
        ("Python", environment.get("python")),
        ("echoservers", environment.get("echoservers")),
        ("Pinning", _pinning(environment.get("pinning"))),
        ("Noise", _noise(environment)),
        ("Load before", _load(environment)),
        ("Limits", _limits(environment.get("limits") or {})),
    ]
    return [(name, escape(str(value), 300)) for name, value in found if value]


def _processors(environment: dict[str, Any]) -> str:
    usable, all_of_them = environment.get("usable_cpus"), environment.get("cpus")
    return f"{usable} usable of {all_of_them}" if usable and all_of_them else ""


def _memory(environment: dict[str, Any]) -> str:
    size = environment.get("memory_bytes")
    return scale_for("bytes", [size]).with_unit(size) if size else ""


def _pinning(pinning: Any) -> str:
    if not pinning:
        return "none: servers and generator share the processors"
    parts = [f"{side} on {', '.join(map(str, cpus))}" for side, cpus in pinning.items()]
    return "; ".join(parts)


def _noise(environment: dict[str, Any]) -> str:
    noise = environment.get("noise") or {}
    if "spread" not in noise:
        return ""
    verdict = "noisy" if noise.get("noisy") else "quiet"
    return f"{verdict}: the same work varied by {noise['spread']:.1%}"


def _load(environment: dict[str, Any]) -> str:
    return ", ".join(f"{load:.2f}" for load in environment.get("load_before") or ())


def _limits(limits: dict[str, Any]) -> str:
    def said(value: Any) -> str:
        several = isinstance(value, list)
        return " / ".join("none" if v is None else str(v) for v in (value if several else [value]))

    return "; ".join(f"{name} {said(value)}" for name, value in limits.items())

"""``echoservers compare``: experiments on any servers, side by side; then tables and a report.

What is measured is saved before anything is made of it, so Ctrl-C keeps it, and
``--replay`` shows it again.
"""

import argparse
import signal
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModeNotAvailable, OptionError
from ..hints import did_you_mean
from . import DONE, FAILED, say
from .arguments import Parser

if TYPE_CHECKING:
    from ..lab.engines import Engine
    from ..lab.experiments import Experiment
    from ..lab.results import Results
    from ..targets import Target

NEEDED = ("numpy", "psutil", "rich", "matplotlib", "jinja2")
"""What the extra installs."""

FOLDER = "echoservers-results"


def run(arguments: list[str]) -> int:
    """Measure and show, or show what was measured before."""
    given = _parser().parse(arguments)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ModeNotAvailable(
            f"compare needs {', '.join(missing)}: pip install 'echoservers[lab]'"
        )
    if given.list:
        return _list()
    if given.replay is not None:
        return _replay(given)
    return _measure(given, arguments)


# --- what is asked for ----------------------------------------------------------------


def _parser() -> Parser:
    parser = Parser(
        "compare",
        usage="echoservers compare [TARGET ...] [--quick] [options]",
        description="Run experiments on servers side by side, and make tables and a report.",
        epilog="TARGET is a mode with options (prefork-tcp:workers=4) or an endpoint\n"
        "(tcp://127.0.0.1:8007).  Without any, the common modes are compared.",
    )
    add = parser.add_argument
    add("targets", nargs="*", metavar="TARGET", help="a mode, or the endpoint of a server")
    pair = "NAME=CMD"
    add("--command", action="append", default=[], metavar=pair, help="a program, with {port}")
    add("--transport", metavar="NAME", help="of the commands (default: tcp, with {path} unix)")
    add("--endpoint", action="append", default=[], metavar="NAME=URL", help="a running server")
    add("--experiment", action="append", default=[], metavar="NAMES", help="by default all")
    add("--file", action="append", default=[], type=Path, help="an experiment of your own (TOML)")
    add("--list", action="store_true", help="list the experiments and what each shows")
    add("--quick", action="store_true", help="the four most telling experiments, within 3 min")
    add("--repeats", type=_number(int, 1, 1000), metavar="N", help="fresh server processes")
    add("--duration", type=_number(float, 0.05, 3600), metavar="S", help="seconds of a cell")
    add("--warmup", type=_number(float, 0, 3600), metavar="S", help="seconds dropped before it")
    add(
        "--set",
        action="append",
        default=[],
        metavar="PARAMETER=VALUES",
        help="connections=1,4; of one: idle.connections=0,100",
    )
    add("--baseline", metavar="NAME", help="what the others are held against (default: the first)")
    add("--seed", type=_number(int, 0, 2**31), default=1, metavar="N", help="of every order")
    add("--engine", choices=("own", "locust"), default="own", help="who makes the load")
    workers = "of Locust's (default: as many as there are processors for them)"
    add("--locust-workers", type=_number(int, 1, 256), metavar="N", help=workers)
    add("--output", type=Path, metavar="DIR", help=f"for the results (default: in {FOLDER})")
    add("--replay", type=Path, metavar="DIR", help="show saved results again, without measuring")
    add("--against", type=Path, metavar="DIR", help="compare with other saved results")
    add("--no-report", action="store_true", help="save figures and tables only")
    return parser


def _number(kind: type, least: float, most: float) -> Any:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(
                f"expected {what} from {least:g} to {most:g}, not {text!r}"
            )
        return value

    return read


def _targets(given: argparse.Namespace, experiments: "list[Experiment]") -> "list[Target]":
    from ..targets import Target

    found = [Target.of_text(text) for text in given.targets]
    for text in given.command:
        name, command = _named(text, "--command", "server=./server {port}")
        found.append(Target.of_command(command, given.transport, name))
    for text in given.endpoint:
        name, url = _named(text, "--endpoint", "server=tcp://127.0.0.1:8007")
        found.append(Target.of_endpoint(url, name))
    if not found:
        found = [Target.of_mode(name) for name in _default_modes(experiments)]
    names = [target.name for target in found]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"two targets are called {name!r}; name each once")
    return found


def _named(text: str, flag: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise OptionError(f"{flag} {text!r}: expected NAME=..., for example {flag} '{example}'")
    return name.strip(), value.strip()


def _default_modes(experiments: "list[Experiment]") -> Iterator[str]:
    """The common modes over tcp, and over udp where an experiment is about datagrams alone."""
    from ..registry import modes

    wanted = {"tcp" if "tcp" in each.transports else "udp" for each in experiments}
    for transport in ("tcp", "udp"):
        for mode in modes():
            common = "prefork" not in mode.name or mode.name == f"prefork-{transport}"
            if transport in wanted and mode.transport == transport and mode.available and common:
                yield mode.name


def _experiments(given: argparse.Namespace) -> "list[Experiment]":
    from ..lab.custom import read_experiment
    from ..lab.experiments import EXPERIMENTS, QUICK, find_experiment

    names = [name for text in given.experiment for name in text.split(",") if name]
    own = [read_experiment(path) for path in given.file]
    for number, experiment in enumerate(own):
        first = [each.name for each in own].index(experiment.name)
        if first < number:
            raise OptionError(
                f"{given.file[first]} and {given.file[number]} are both called"
                f" {experiment.name!r}; name each experiment once"
            )
    if "all" in names:
        names = list(EXPERIMENTS)
    if not names and not own:
        names = list(QUICK if given.quick else EXPERIMENTS)
    chosen = [*(find_experiment(name) for name in dict.fromkeys(names)), *own]
    if given.quick:
        chosen = [experiment.quick() for experiment in chosen]
    return _with_settings([_with_timing(each, given) for each in chosen], given.set)


def _engine(given: argparse.Namespace) -> "Engine":
    if given.engine == "locust":
        from ..lab.locust.engine import LocustEngine

        return LocustEngine(given.locust_workers)
    if given.locust_workers is not None:
        raise OptionError("--locust-workers is for --engine locust")
    from ..lab.engines import OwnGenerator

    return OwnGenerator()


def _taken(
    experiments: "list[Experiment]", engine: "Engine", given: argparse.Namespace
) -> "list[Experiment]":
    """The experiments that the engine can make the load of.

    :raises OptionError: one that was asked for is not, or none is left.
    """
    from ..lab.experiments import EXPERIMENTS

    fit = [experiment for experiment in experiments if engine.takes(experiment)]
    left_out = [experiment.name for experiment in experiments if experiment not in fit]
    if left_out and (given.experiment or given.file):
        known = ", ".join(name for name, each in EXPERIMENTS.items() if engine.takes(each))
        raise OptionError(
            f"--engine {engine.name} cannot make the load of {', '.join(left_out)}:"
            f" it is for {known}, and closed loops of your own"
        )
    return fit


def _with_timing(experiment: "Experiment", given: argparse.Namespace) -> "Experiment":
    from dataclasses import replace

    timing = experiment.timing
    if given.repeats is not None:
        timing = replace(timing, repeats=given.repeats)
    if timing.duration and given.duration is not None:  # 0: it ends when all is done
        timing = replace(timing, duration=given.duration)
    if timing.duration and given.warmup is not None:
        timing = replace(timing, warmup=given.warmup)
    return replace(experiment, timing=timing)


def _with_settings(experiments: "list[Experiment]", texts: list[str]) -> "list[Experiment]":
    for text in texts:
        place, equals, values = text.partition("=")
        only, _, parameter = place.strip().rpartition(".")
        parameter = parameter.replace("-", "_")
        given = [value.strip() for value in values.split(",") if value.strip()]
        if not equals or not given:
            raise OptionError(f"--set {text!r}: expected PARAMETER=VALUE,VALUE,...")
        meant = [e for e in experiments if e.has(parameter) and only in ("", e.name)]
        if not meant:
            known = sorted({f"{e.name}.{name}" for e in experiments for name in e.parameters()})
            raise OptionError(
                f"--set {text!r}: no experiment that is run has {place.strip()!r}"
                f"{did_you_mean(place.strip(), known)}; they have {', '.join(known)}"
            )
        experiments = [e.set(parameter, given) if e in meant else e for e in experiments]
    return experiments


def _fitting(
    experiments: "list[Experiment]", targets: "list[Target]", named: bool
) -> "list[Experiment]":
    """The experiments that are for any of the targets.

    :raises OptionError: one that was asked for, by name or as a file, is for none, or none is left.
    """
    fit = [e for e in experiments if any(t.transport in e.transports for t in targets)]
    left_out = [e.name for e in experiments if e not in fit]
    if left_out and (named or not fit):
        transports = ", ".join(sorted({t.transport for t in targets}))
        no = "no experiment" if len(left_out) == 1 else "no experiments"
        raise OptionError(f"{', '.join(left_out)}: {no} for servers over {transports}")
    return fit


# --- doing it -------------------------------------------------------------------------


def _measure(given: argparse.Namespace, arguments: list[str]) -> int:
    from ..lab.measure import Study, measure
    from ..lab.results import Saver, load, make_folder
    from .compare_progress import make_listener

    engine = _engine(given)
    experiments = _taken(_experiments(given), engine, given)
    targets = _targets(given, experiments)
    experiments = _fitting(experiments, targets, bool(given.experiment or given.file))
    baseline = _baseline(given.baseline, targets)
    against = None if given.against is None else load(given.against)
    default = Path(FOLDER, time.strftime("%Y-%m-%d-%H%M"))
    folder = make_folder(given.output, default)
    command = ["compare", *arguments]
    study = Study(targets, experiments, baseline, given.seed, command, engine)
    saver = Saver(folder)
    interrupted = None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end in order, as by Ctrl-C
    try:
        with make_listener() as listener:
            measure(study, listener, saver.keep)
    except KeyboardInterrupt as error:
        interrupted = error
    finally:
        saver.flush()
        if saver.latest is None and given.output is None:
            folder.rmdir()  # ours, and nothing has been measured
    if saver.latest is not None:
        _show(saver.latest, folder, against, report=not given.no_report)
    if interrupted is not None:
        if saver.latest is not None:
            say(f"interrupted; what was measured is in {folder}")
        raise interrupted
    assert saver.latest is not None
    return _exit_code(saver.latest)


def _baseline(name: str | None, targets: "list[Target]") -> str | None:
    names = [target.name for target in targets]
    if name is None:
        return names[0] if len(names) > 1 else None
    if name not in names:
        raise OptionError(
            f"--baseline {name!r} is none of the targets{did_you_mean(name, names)};"
            f" they are {', '.join(names)}"
        )
    return name


def _replay(given: argparse.Namespace) -> int:
    from ..lab.results import load

    results = load(given.replay)
    if given.baseline not in (None, results.baseline):
        raise OptionError(
            f"--baseline {given.baseline!r}: the saved ratios are to {results.baseline!r};"
            " measure again for others"
        )
    against = None if given.against is None else load(given.against)
    folder = given.replay if given.replay.is_dir() else given.replay.parent
    _show(results, folder, against, report=not given.no_report)
    return DONE


def _show(results: "Results", folder: Path, against: "Results | None", *, report: bool) -> None:
    from .compare_tables import show_changes, show_results

    show_results(results)
    if against is not None:
        show_changes(results, against)
    say(f"figures: {folder / 'results.json'}, {folder / 'results.csv'}")
    if report:
        from ..lab.report import write_report

        files = write_report(results, folder, against)
        pages = [path for path in files if path.suffix == ".html"]
        for page in pages:
            say(f"report:  {page}")


def _exit_code(results: "Results") -> int:
    failed = any(cell.error for each in results.experiments for cell in each.cells)
    return FAILED if failed else DONE


def _list() -> int:
    from .compare_tables import show_experiments

    show_experiments()
    return DONE

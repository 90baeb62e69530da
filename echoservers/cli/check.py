"""``echoservers check TARGET``: is a server right?  One, many, or a folder of submissions."""

import argparse
import math
import os
import signal
from collections.abc import Sequence

from ..conformance.design import DESIGNS, neutral_name
from ..conformance.engine import CHECKS, SUBJECTS, known_names, select_checks
from ..conformance.job import Job, Run
from ..conformance.pool import Ended, Pool
from ..conformance.results import many_as_json, one_as_json
from ..conformance.rubric import Rubric, Score, read_rubric
from ..conformance.saving import check_writable, save
from ..conformance.submissions import find_submissions, read_build, submission_target
from ..errors import OptionError
from ..options import count
from ..registry import modes
from ..system import usable_processors
from ..targets import Level, Limits, Target, TargetError
from ..targets.limits import MIB
from ..targets.target import COMMAND_TRANSPORTS
from ..targets.watch import need_psutil
from . import DONE, FAILED, NOT_REACHED, ResultsLost, say
from .arguments import Parser, value_read_by
from .verdicts import verdicts

TARGETS_A_PROCESSOR = 3
"""How many are checked at a time, by default."""

EXPECTED_DESIGN = "design.expected"
"""The check that `--expect-design` asks for."""

LIMITS = {
    "cpu": ("SECONDS", 1, "processor time of a server and all that it starts"),
    "memory": ("MIB", MIB, "memory of all of them, shared pages counted once"),
    "descriptors": ("N", 1, "open files and connections of each process"),
    "processes": ("N", 1, "processes and threads"),
    "file_size": ("MIB", MIB, "size of a file"),
    "output": ("MIB", MIB, "what is printed"),
    "time": ("SECONDS", 1, "build and checks of one submission together"),
}
"""The unit, how many of the unit of `Limits` it is, and what is limited."""


def run(arguments: list[str]) -> int:
    """Check what the arguments name."""
    given = _parser().parse(arguments)
    given.only, given.skip = _names(given.only), _names(given.skip)
    if given.expect_design is not None:
        given.expect_design = neutral_name(given.expect_design)
    if given.list:
        say(_listed(given.only, given.skip))
        return DONE
    rubric = None if given.rubric is None else read_rubric(given.rubric)
    jobs = [_job(target, given) for target in _targets(given)]
    if given.expect_design is not None:
        _see_that_design_is_checked(jobs)
    if not any(job.checks for job in jobs):
        raise OptionError("no check that is left applies; --list shows all")
    _check_files(given)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end in order, as by Ctrl-C
    many = len(jobs) > 1 or given.submissions is not None
    most = min(_at_once(given), len(jobs))
    jobs = [job._replace(beside=most / usable_processors()) for job in jobs]
    runs, scores = _check(jobs, most, rubric, many)
    return _exit_code(runs, many, _save(given, runs, scores, rubric, many))


def _parser() -> Parser:
    parser = Parser(
        "check",
        usage="echoservers check TARGET ... | --command CMD | --all [options]",
        description="Tell whether a server is right, and prove it.",
        epilog="TARGET is a mode (threading-tcp), a mode with options (tcp:idle_timeout=5)\n"
        "or the endpoint of a server that runs (tcp://127.0.0.1:8007).\n"
        "Exit codes: 0 every check passed; 1 one failed; 2 wrong usage; 3 a target could\n"
        "not be started or reached; 130 interrupted.",
    )
    what = parser.add_argument_group("what is checked")
    add = what.add_argument
    add("targets", nargs="*", metavar="TARGET", help=argparse.SUPPRESS)
    add("--command", metavar="CMD", help="a program, in any language: './server {port}'")
    add("--transport", help=f"of the program: {', '.join(COMMAND_TRANSPORTS)} (default: tcp)")
    add("--all", action="store_true", help="every mode that is available here")
    add(
        "--submissions",
        metavar="DIR",
        help="every file and folder in it, started by the command, which has {file} or {dir}",
    )
    add("--build", metavar="CMD", help="run before, once for each: 'make -C {dir}'")
    _add_selection(parser.add_argument_group("which checks"))
    _add_manner(parser.add_argument_group("how"))
    _add_limits(parser.add_argument_group("limits of --submissions (of others, where given)"))
    add = parser.add_argument_group("results").add_argument
    add("--json", metavar="FILE", help="save the results as JSON")
    add("--junit", metavar="FILE", help="save them as JUnit XML")
    add("--table", metavar="FILE", help="save a table of all: .html or .csv")
    add("--rubric", metavar="FILE.toml", help="give points: [checks] and [groups] with numbers")
    return parser


def _add_selection(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--list", action="store_true", help="show every check with its requirement and source")
    add(
        "--only",
        action="append",
        metavar="IDS",
        help=f"these checks or groups, with commas between ({', '.join(SUBJECTS)})",
    )
    add("--skip", action="append", metavar="IDS", help="leave these out")
    add(
        "--level",
        type=value_read_by(Level.named),
        help="how many clients at a time it must serve: iterative (one), pool (a few),"
        " concurrent (hundreds; the default, but for modes, whose level is known)",
    )
    add(
        "--framing",
        choices=["raw", "lines"],
        default="raw",
        help="lines: it may wait for the end of a line (default: raw)",
    )
    add(
        "--expect-design",
        metavar="NAME",
        help=f"the design that it must have, seen from outside: {', '.join(DESIGNS)},"
        " or a model (forking)",
    )


def _add_manner(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--timeout-scale",
        type=value_read_by(_scale),
        default=1.0,
        metavar="X",
        help="multiply every time limit, for a slow machine; waits that show that nothing"
        " happens are only made longer (default: 1)",
    )
    for flag, default, meaning in (
        ("--repeat", 1, "make each check N times; one failure is a failure (default: 1)"),
        ("--jobs", None, "targets at a time (default: three a processor; submissions: one)"),
    ):
        add(flag, type=value_read_by(count), default=default, metavar="N", help=meaning)


def _add_limits(group: argparse._ArgumentGroup) -> None:
    for name, (unit, factor, meaning) in LIMITS.items():
        default = Limits._field_defaults[name]
        group.add_argument(
            "--limit-" + name.replace("_", "-"),
            dest=f"limit_{name}",
            type=value_read_by(count),
            metavar=unit,
            help=f"{meaning} (default: {default / factor:g})",
        )


def _scale(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.01 <= number <= 100:
        raise ValueError("expected a number from 0.01 to 100")
    return number


def _names(given: Sequence[str] | None) -> list[str]:
    names = [name.strip() for text in given or () for name in text.split(",")]
    return known_names([name for name in names if name])


def _listed(only: Sequence[str], skip: Sequence[str]) -> str:
    lines = []
    for check in CHECKS.values():
        names = {check.id, check.group}
        if (not only or names & set(only)) and not names & set(skip):
            lines += [check.id, f"    {check.requirement}", f"    {check.source}"]
    return "\n".join(lines)


def _targets(given: argparse.Namespace) -> list[Target]:
    if given.transport is not None and given.command is None:
        raise OptionError("--transport is for --command; a TARGET says its own")
    if given.submissions is not None:
        return _submitted(given)
    if given.build is not None:
        raise OptionError("--build is for --submissions")
    targets = [Target.of_text(text) for text in given.targets]
    if given.command is not None:
        targets.append(Target.of_command(given.command, given.transport))
    if given.all:
        targets += [Target.of_mode(mode.name) for mode in modes() if mode.available]
    if not targets:
        raise OptionError(
            "nothing to check; give a TARGET (threading-tcp, tcp://127.0.0.1:8007),"
            " --command './server {port}' or --all"
        )
    return targets


def _submitted(given: argparse.Namespace) -> list[Target]:
    if given.targets or given.all:
        raise OptionError("--submissions is for a --command; leave out TARGET and --all")
    if given.command is None:
        raise OptionError(
            "--submissions needs a --command that starts each: 'python3 {file} {port}'"
        )
    found = find_submissions(given.submissions)
    return [submission_target(path, given.command, given.transport) for path in found]


def _limits(given: argparse.Namespace) -> Limits | None:
    """What targets are held to: submissions always, others where a limit is given."""
    values = {
        name: getattr(given, f"limit_{name}") * factor
        for name, (_, factor, _) in LIMITS.items()
        if getattr(given, f"limit_{name}") is not None
    }
    return Limits(**values) if values or given.submissions is not None else None


def _job(target: Target, given: argparse.Namespace) -> Job:
    level = target.level if given.level is None else given.level
    checks = select_checks(
        target,
        level,
        only=given.only,
        skip=given.skip,
        lines=given.framing == "lines",
        design=given.expect_design is not None,
    )
    return Job(
        target,
        level,
        tuple(check.id for check in checks),
        given.timeout_scale,
        given.repeat,
        given.expect_design,
        not given.only or given.expect_design is not None,
        _limits(given),
        tuple(read_build(given.build)),
        given.submissions is not None and target.directory is None,
    )


def _see_that_design_is_checked(jobs: Sequence[Job]) -> None:
    """See that no job leaves out the design that is expected.

    :raises EchoServersError: one would, or the processes of none can be seen.
    """
    need_psutil()
    for job in jobs:
        if not job.target.is_ours_to_start:
            raise OptionError(
                f"the processes of {job.target.name} cannot be seen, and so no design, since it"
                " runs already; leave out --expect-design, or let check start it (--command)"
            )
        if EXPECTED_DESIGN not in job.checks:
            raise OptionError(
                f"--only or --skip leaves out {EXPECTED_DESIGN}, which --expect-design asks for"
            )


def _at_once(given: argparse.Namespace) -> int:
    if given.jobs is not None:
        return int(given.jobs)
    # For most of the time of a check nothing happens, which is what it waits for.  Submissions
    # have limits of time, and may take what processors they find.
    return usable_processors() * (1 if given.submissions is not None else TARGETS_A_PROCESSOR)


def _check(
    jobs: Sequence[Job], most: int, rubric: Rubric | None, many: bool
) -> tuple[list[Run], list[Score | None]]:
    """Run *jobs* and show it; the results in their order."""
    runs: dict[int, Run] = {}
    scores: dict[int, Score | None] = {}
    with Pool(jobs, most) as pool, verdicts(jobs, many) as shown:
        for event in pool.events():
            score = None
            if isinstance(event, Ended):
                runs[event.number] = event.run
                score = None if rubric is None else rubric.score(event.run)
                scores[event.number] = score
            shown.hear(event, score)
        ordered = [runs[number] for number in range(len(jobs))]
        shown.summary(ordered)
    return ordered, [scores[number] for number in range(len(jobs))]


def _check_files(given: argparse.Namespace) -> None:
    """See that the results can be saved, before they are there, and each by itself."""
    if given.table is not None:
        from ..conformance.tables import check_table

        check_table(given.table)
    used: dict[str, str] = {}
    for flag in ("rubric", "json", "junit", "table"):
        path = getattr(given, flag)
        if path is None:
            continue
        if flag != "rubric":
            check_writable(path)
        other = used.setdefault(os.path.realpath(path), flag)
        if other != flag:
            raise OptionError(
                f"--{flag} {path} is the file of --{other}; give each a name of its own"
            )


def _save(
    given: argparse.Namespace,
    runs: Sequence[Run],
    scores: Sequence[Score | None],
    rubric: Rubric | None,
    many: bool,
) -> list[str]:
    """Save the results in each file that was asked for; which could not be written, and why."""

    def as_json() -> str:
        return many_as_json(runs, scores) if many else one_as_json(runs[0], scores[0])

    def as_xml() -> str:
        from ..conformance.junit import as_junit

        return as_junit(runs)

    def as_table() -> str:
        from ..conformance.tables import as_csv, as_html

        table = as_csv if given.table.endswith(".csv") else as_html
        return table(runs, scores, rubric)

    lost = []
    for path, text in ((given.json, as_json), (given.junit, as_xml), (given.table, as_table)):
        if path is not None:
            try:
                save(path, text())
            except OSError as error:  # the others are saved all the same
                lost.append(f"cannot write to {path}: {error.strerror or error}")
    return lost


def _exit_code(runs: Sequence[Run], many: bool, lost: list[str]) -> int:
    """What the results come to.

    :param lost: the files with results that could not be written, and why.
    :raises TargetError: the only target could not be started or reached, and that is all.
    :raises ResultsLost: there are files that are lost, or checks of the only target after one
        that has failed.
    """
    failed = any(run.report.failed for run in runs)
    not_made = [run.error for run in runs if run.error is not None and not many]
    if not_made and not failed and not lost:
        raise TargetError(not_made[0])
    if not_made or lost:
        raise ResultsLost("; ".join(not_made + lost))
    if failed:
        return FAILED
    return DONE if all(run.passed for run in runs) else NOT_REACHED

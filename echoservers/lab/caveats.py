"""What a reader has to know before believing a figure: told only where it applies."""

from collections.abc import Callable, Iterable, Iterator

from ..log import escape
from .claims import names
from .notes import alike, pattern_of
from .results import Cell, Experiment, Results
from .units import count

__all__ = ["about_experiment", "about_options", "about_run"]

FEW_RUNS = 5
"""With fewer, an interval is wider than the figures deserve: Student's t for three runs is
4.3, for five 2.8, for ten 2.3."""

_DATAGRAMS = ("udp", "unix-datagram", "raw")
_PARALLEL = ("threading", "thread-pool", "prethreading", "forking", "prefork")

Caveats = Iterator[str]


def about_run(results: Results) -> list[str]:
    """What applies to all experiments."""
    return list(_about_run(results))


def _about_run(results: Results) -> Caveats:
    environment = results.environment
    if not results.finished:
        yield "The run was not finished: what had been measured until then is shown."
    for warning in environment.get("warnings") or ():
        text = escape(str(warning))
        yield f"{text[:1].upper()}{text[1:]}."
    said = " ".join(map(str, environment.get("warnings") or ()))
    noise = environment.get("noise") or {}
    if noise.get("noisy") and "noisy" not in said:
        yield (
            f"The machine was noisy: the same work varied by {noise.get('spread', 0):.0%};"
            " small differences do not show."
        )
    pinning = environment.get("pinning")
    if not pinning and "share one processor" not in said:
        yield "Servers and generator were not kept on processors of their own."
    yield from about_options(results)


def about_options(results: Results) -> Caveats:
    """Where our servers were given options that others of them were not."""
    ours = [subject for subject in results.targets if subject.mode is not None]
    by_option: dict[str, dict[str, list[str]]] = {}
    for subject in ours:
        for option, value in _options(subject.mode or "").items():
            by_option.setdefault(option, {}).setdefault(value, []).append(subject.name)
    told = [
        f"{escape(option)} is {_values(by_value)}"
        for option, by_value in by_option.items()
        if [len(who) for who in by_value.values()] != [len(ours)]  # all the same
    ]
    if told:
        yield f"Options differ: {'; '.join(told)}. Others of ours that have them have the default."


def _options(spec: str) -> dict[str, str]:
    """The options of a mode spec, as text: the mode itself may not be installed here."""
    parts = (part.partition("=") for part in spec.partition(":")[2].split(",") if part)
    return {name.strip().replace("-", "_"): value.strip() for name, _, value in parts}


def _values(by_value: dict[str, list[str]]) -> str:
    return " and ".join(f"{escape(value)} for {names(who)}" for value, who in by_value.items())


def about_experiment(results: Results, experiment: Experiment) -> list[str]:
    """What applies to *experiment*."""
    found: list[str] = []
    for caveat in _CAVEATS:
        found += caveat(results, experiment)
    return found


def _who(cells: Iterable[Cell]) -> str:
    return names(dict.fromkeys(cell.target for cell in cells))


def _generator(_results: Results, experiment: Experiment) -> Caveats:
    held = [cell for cell in experiment.cells if cell.limited_by == "generator"]
    if held:
        yield (
            f"Generator-limited, in {count(len(held), 'measurement')}: {_who(held)}. The load"
            " generator was the bottleneck there, the server may do better, and is not ranked."
        )


def _cut_short(_results: Results, experiment: Experiment) -> Caveats:
    for what in ("memory", "descriptors", "time"):
        cut = [cell for cell in experiment.cells if cell.limited_by == what]
        if cut:
            yield f"Limited by {what}, and so not ranked: {_who(cut)}."


def _failed(_results: Results, experiment: Experiment) -> Caveats:
    by_error: dict[str, list[Cell]] = {}
    for cell in experiment.cells:
        if cell.error:
            by_error.setdefault(cell.error, []).append(cell)
    for error, cells in by_error.items():
        yield f"Failed, in {count(len(cells), 'measurement')}: {_who(cells)}: {escape(error)}"


def _few_runs(_results: Results, experiment: Experiment) -> Caveats:
    if experiment.repeats == 1:
        yield "There was one run of each: with no interval nothing can be told apart."
    elif experiment.repeats < FEW_RUNS:
        yield (
            f"There were {experiment.repeats} runs of each: the intervals are wide, and"
            " differences that more runs would show are not seen."
        )


def _servers_cpus(results: Results) -> int:
    pinning = results.environment.get("pinning")
    return len(pinning["server"]) if pinning else results.environment.get("usable_cpus", 0)


def _one_processor(results: Results, experiment: Experiment) -> Caveats:
    cpus = _servers_cpus(results)
    models = {subject.name: subject.model or "" for subject in results.targets}
    parallel = [c for c in experiment.cells if models.get(c.target, "").startswith(_PARALLEL)]
    if cpus == 1 and parallel and experiment.name not in ("idle", "fairness", "backlog"):
        yield (
            "The servers had one processor: threads and processes could overlap what waits,"
            " but nothing that computes."
        )


def _a_worker_a_processor(results: Results, experiment: Experiment) -> Caveats:
    """A preforked server's workers are as many as processors, where nobody says how many."""
    preforked = [each for each in results.targets if each.model == "prefork"]
    default = [each.name for each in preforked if "workers=" not in (each.mode or "")]
    held = [cell for cell in experiment.cells if cell.target in default]
    cpus = _servers_cpus(results)
    if held and cpus and experiment.name == "slow-client":
        yield (
            f"A worker a processor, here {cpus}, and a client a worker: {_who(held)}. As many"
            " slow clients take them all; workers=N bears more."
        )


def _loopback(_results: Results, experiment: Experiment) -> Caveats:
    figures = {name for cell in experiment.cells for name in cell.figures}
    if "server_cpu_per_message" in figures:
        yield (
            "Over loopback the kernel bills a part of the receiver's work to the sender: compare"
            " the CPU time of the whole machine as well as the server's."
        )


def _transports(results: Results, experiment: Experiment) -> Caveats:
    kinds = {subject.name: subject.transport for subject in results.targets}
    used = dict.fromkeys(kinds.get(cell.target, "") for cell in experiment.cells)
    found = [kind for kind in used if kind]
    if len(found) > 1:
        yield f"Different transports stand side by side: {names(found)}."
    if any(kind in _DATAGRAMS for kind in found):
        yield (
            "Datagrams may be lost without anybody being told: look at the share that was"
            " answered before any other figure of theirs."
        )


def _strangers(results: Results, experiment: Experiment) -> Caveats:
    ours = {subject.name for subject in results.targets if subject.model is not None}
    others = [cell for cell in experiment.cells if cell.target not in ours]
    if others:
        yield (
            f"Programs that are not ours ({_who(others)}) have buffers, a backlog and options of"
            " their own choice, which may differ from ours."
        )


def _missing(_results: Results, experiment: Experiment) -> Caveats:
    """The remarks of single measurements, each once, with how often it was made."""
    by_pattern: dict[str, list[tuple[str, Cell]]] = {}
    for cell in experiment.cells:
        for note in dict.fromkeys(cell.notes):
            by_pattern.setdefault(pattern_of(note), []).append((note, cell))
    ordered = sorted(by_pattern.values(), key=lambda found: -len(found))
    for found in ordered[:MOST_NOTES]:
        (note,) = alike(note for note, _cell in found)  # of those that differ in a number
        cells = [cell for _note, cell in found]
        yield f"{_who(cells)}: {escape(note)} ({count(len(cells), 'measurement')})."
    more = len(ordered) - MOST_NOTES
    if more > 0:
        stand = "stands" if more == 1 else "stand"
        yield f"{count(more, 'further remark')} {stand} in results.json."


MOST_NOTES = 5  # remarks; all of them stand in results.json

_CAVEATS: tuple[Callable[[Results, Experiment], Caveats], ...] = (
    _generator,
    _failed,
    _cut_short,
    _few_runs,
    _one_processor,
    _a_worker_a_processor,
    _transports,
    _strangers,
    _loopback,
    _missing,
)

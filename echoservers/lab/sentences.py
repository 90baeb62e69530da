"""Two sentences an experiment, made of the data: what is most telling of what can be told."""

from collections.abc import Callable, Iterator

from ..log import escape
from .claims import (
    Sentence,
    best,
    held,
    held_against,
    names,
    past_the_knee,
    place_of,
    worse,
)
from .lanes import read_lanes
from .layout import layout_of
from .ranking import rankable
from .results import Experiment, Figure
from .units import count
from .view import Panel, panels

__all__ = ["against_baseline", "sentences_of"]

Made = Iterator["Sentence | None"]


def sentences_of(experiment: Experiment) -> list[Sentence]:
    """The two most telling sentences about *experiment* that its data allow."""
    found: list[Sentence] = []
    for maker in (_SPECIAL.get(experiment.name, _general), _general, _last_resort):
        for sentence in maker(experiment):
            if sentence is not None and sentence.text not in [other.text for other in found]:
                found.append(sentence)
            if len(found) == 2:
                return found
    return found


def against_baseline(experiment: Experiment) -> Sentence | None:
    """How far the others are from the baseline, by the first figure and under the most load."""
    for name in layout_of(experiment).main:
        for panel in panels(experiment):
            for value in reversed(panel.values() or [None]):
                said = held_against(panel, name, value)
                if said is not None:
                    return said
    return None


# --- what each experiment is about ------------------------------------------------------


def _general(experiment: Experiment) -> Made:
    layout = layout_of(experiment)
    for name in (*layout.main, *layout.more):
        for panel in panels(experiment):
            values = panel.values()
            yield best(panel, name, values[-1] if values else None)
            if len(values) > 1:
                yield best(panel, name, values[0])


def _scaling(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        yield best(panel, "throughput", (panel.values() or [None])[-1])
        yield past_the_knee(panel, "throughput")


def _latency(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        values = panel.values()
        if values:
            yield best(panel, "p99", values[-1])
            yield worse(panel, "p99", values[0], values[-1], "less")


def _slow_client(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        values = panel.values()
        for name, better in (("throughput", "more"), ("p99", "less")):
            for value in values[1:]:
                # That nobody was served any more is what it is about.
                yield worse(panel, name, values[0], value, better, or_stalled=True)


def _gil(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        for value in reversed(panel.values() or [None]):
            cells = panel.cells if value is None else panel.at(value)
            yield best(panel, "kept_share", value)
            found = [c for c in cells if "kept_share" in c.figures and not c.error]
            lost = [c.target for c in found if _whole_below(c.figures["kept_share"], 0.5)]
            who = names(lost) if lost else "no server"
            if found:
                keep = "keeps" if len(lost) < 2 else "keep"
                yield Sentence(
                    f"{place_of(panel, value)}{who} clearly {keep} less than half"
                    f" of the throughput: {len(lost)} of {len(found)} servers."
                )


def _whole_below(figure: Figure, limit: float) -> bool:
    return figure.high is not None and figure.high < limit


def _fairness(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        last = (panel.values() or [None])[-1]
        yield best(panel, "jain_index", last)
        served = {}
        for cell in panel.at(last) if last is not None else panel.cells:
            shown = cell.series.get("served_by_worker") or {}
            amounts = shown.get("y", ())
            # The picture may have the busiest ones alone; without an index the least busy one is
            # not known.
            if len(amounts) > 1 and not cell.error and "jain_index" in cell.figures:
                served[cell.target] = (
                    max(amounts),
                    shown.get("least", min(amounts)),
                    shown.get("workers", len(amounts)),
                )
        if served:
            target = max(served, key=lambda name: served[name][0] - served[name][1])
            most, least, workers = served[target]
            yield Sentence(
                f"{place_of(panel, last)}the busiest of the {workers:,} workers of"
                f" {escape(target)} served {count(round(most), 'client')} and the least busy one"
                f" {least:,.0f}, in the run that is drawn."
            )


def _idle(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        values = panel.values()
        most = values[-1] if values else None
        whole = _with_all_clients(panel)
        said = best(whole, "memory_pss", most, "less")
        left = len(panel.at(most)) - len(whole.at(most))
        if said is not None and left:
            others = f"; {count(left, 'other')} did not take all clients."
            said = said._replace(text=said.text.removesuffix(".") + others)
        yield said
        if isinstance(most, int) and most >= 100:
            yield from _a_worker_each(panel, most)
        if len(values) > 1:
            yield worse(whole, "memory_pss", values[0], most, "less")


def _with_all_clients(panel: Panel) -> Panel:
    """Without the cells of servers that did not take all clients: they had less to hold."""
    all_taken = [
        c for c in panel.cells
        if "answered_share" not in c.figures or c.figures["answered_share"].median >= 1
    ]  # fmt: skip
    return panel._replace(cells=tuple(all_taken))


def _a_worker_each(panel: Panel, clients: int) -> Made:
    for name, thing in (("processes", "process"), ("threads", "thread")):
        at = [c for c in panel.at(clients) if name in c.figures and rankable(c)]
        each = [c.target for c in at if c.figures[name].median >= 0.9 * clients]
        if each:
            verb = "has" if len(each) == 1 else "have"
            yield Sentence(f"{names(each)} {verb} a {thing} for each idle connection.")


def _size(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        values = panel.values() or [None]
        yield best(panel, "throughput", values[0])
        yield best(panel, "megabytes_per_second", values[-1])


def _work(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        yield best(panel, "throughput", (panel.values() or [None])[-1])


def _timeline(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        values = panel.values()
        by_number: dict[int, list[str]] = {}
        for cell in panel.at(values[0]) if values else panel.cells:
            shown = None if cell.error else read_lanes(cell.target, cell.series)
            if shown is not None:
                by_number.setdefault(shown.most_at_once(), []).append(cell.target)
        parts = [
            f"{names(who)} served {'one request' if n == 1 else f'up to {n} requests'} at a time"
            for n, who in sorted(by_number.items())
        ]
        if parts:
            where = place_of(panel, values[0] if values else None)
            yield Sentence(f"{where}{'; '.join(parts)}, in the runs that are drawn.")
    for panel in panels(experiment):
        for value in panel.values() or [None]:
            yield best(panel, "makespan", value)


def _datagram(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        values = panel.values()
        if values:
            yield best(panel, "answered_share", values[-1])
            yield worse(panel, "answered_share", values[0], values[-1], "more")


def _backlog(experiment: Experiment) -> Made:
    for panel in panels(experiment):
        at = [c for c in panel.cells if "refused" in c.figures and not c.error]
        refused = [c for c in at if (c.figures["refused"].low or 0) > 0]
        where = f"With {panel.title}, c" if panel.title else "C"
        if refused:
            sizes = [c.parameters.get(experiment.parameter) for c in refused]
            who = names(dict.fromkeys(c.target for c in refused))
            least = min((s for s in sizes if isinstance(s, int)), default=None)
            burst = f" at bursts of {least:,} or more" if least is not None else ""
            yield Sentence(f"{where}onnections were refused by {who}{burst}.")
        elif at:
            yield Sentence(f"{where}onnections were not clearly refused by any server.")
    for panel in panels(experiment):
        yield best(panel, "connect_max", (panel.values() or [None])[-1])


def _last_resort(experiment: Experiment) -> Made:
    """What is true of any experiment: what was measured, and what was not."""
    cells = experiment.cells
    failed = [c for c in cells if c.error]
    targets = dict.fromkeys(c.target for c in cells)
    if failed:
        who = names(dict.fromkeys(c.target for c in failed))
        yield Sentence(
            f"{len(failed)} of {count(len(cells), 'measurement')} failed: those of {who}."
        )
    limited = names(dict.fromkeys(c.target for c in cells if held(c)))
    if limited:
        yield Sentence(f"The generator was too slow to rank {limited} everywhere.")
    yield Sentence(f"{count(len(targets), 'server')} in {count(len(cells), 'measurement')}: the"
                   " figures are told below, and no two are compared.")  # fmt: skip
    yield Sentence("By these figures no server can be called better than another.")


_SPECIAL: dict[str, Callable[[Experiment], Made]] = {
    "scaling": _scaling,
    "latency": _latency,
    "fairness": _fairness,
    "slow-client": _slow_client,
    "gil": _gil,
    "idle": _idle,
    "size": _size,
    "work": _work,
    "timeline": _timeline,
    "datagram": _datagram,
    "backlog": _backlog,
}

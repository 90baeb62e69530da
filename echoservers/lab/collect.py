"""From the samples of single runs to the cells and ratios of the results."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

from . import results
from .experiments.base import Experiment, Parameters, Sample
from .figures import kind_of
from .limits import rankable
from .notes import alike
from .stats import Interval, interval, paired_ratio, verdict, widened

__all__ = ["Collection"]

Key = tuple[str, tuple[tuple[str, int | float | str], ...]]


class Collection:
    """The samples of one experiment, as they come in.

    :param baseline: the target that the others are held against.
    :param references: by target, the one whose figures `Experiment.derive` is given as well.
    """

    def __init__(
        self,
        experiment: Experiment,
        targets: Sequence[str],
        *,
        baseline: str | None,
        references: Mapping[str, str],
        seed: int,
    ) -> None:
        self._experiment = experiment
        self._targets = targets
        self._baseline = baseline
        self._references = references
        self._seed = seed
        self._rounds = experiment.timing.repeats
        self._samples: dict[Key, list[Sample | None]] = {}

    def add(self, target: str, parameters: Parameters, turn: int, sample: Sample) -> None:
        """Keep the *sample* of round *turn*, counted from 0."""
        samples = self._samples.setdefault(_key(target, parameters), [None] * self._rounds)
        samples[turn] = sample

    def failed(self, target: str, parameters: Parameters) -> bool:
        """Whether a run of this cell has had an error."""
        samples = self._samples.get(_key(target, parameters), [])
        return any(sample is not None and sample.error for sample in samples)

    def measured(self, target: str, parameters: Parameters) -> bool:
        """Whether there is a run of this cell."""
        return any(self._samples.get(_key(target, parameters), []))

    def result(self) -> results.Experiment:
        """What there is so far."""
        made = self._experiment
        cells = [
            cell
            for parameters in made.cells()
            for target in self._targets
            if (cell := self._cell(target, parameters)) is not None
        ]
        return results.Experiment(
            made.name,
            made.title,
            made.question,
            made.shows,
            made.parameter,
            made.unit,
            list(made.values),
            made.timing.repeats,
            made.timing.duration,
            made.timing.warmup,
            made.panel,
            cells,
            list(self._ratios(cells)),
        )

    def _cell(self, target: str, parameters: Parameters) -> results.Cell | None:
        samples = self._samples.get(_key(target, parameters))
        if samples is None:
            return None
        found = [sample for sample in samples if sample is not None]
        cell = results.Cell(target, dict(parameters))
        cell.error = next((sample.error for sample in found if sample.error), None)
        cell.limited_by = _limit(found)
        cell.notes = alike(_notes(found))
        held = sum(sample.limited_by == "generator" for sample in found)
        if held and cell.limited_by != "generator":
            cell.notes.append(
                f"generator-limited: {held} of {len(found)} runs; the server may do better than"
                " they show, so that it is said to be behind nobody"
            )
        by_round = [self._figures(target, parameters, turn) for turn in range(self._rounds)]
        withheld = {name for sample in found for name in sample.withheld}
        for name in dict.fromkeys(name for figures in by_round for name in figures):
            if name not in withheld:
                by = max((sample.rounded.get(name, 0.0) for sample in found), default=0.0)
                runs = [figures.get(name) for figures in by_round]
                figure = self._figure(name, runs, by)
                cell.figures[name] = _may_be_better(figure) if held else figure
        if self._references.get(target) == target:
            cell.notes += self._about_the_reference(found)
        typical = _typical(found)
        cell.series = typical.series if typical is not None else {}
        return cell

    def _figures(self, target: str, parameters: Parameters, turn: int) -> dict[str, float]:
        """The figures of one run, with those that are derived from the reference's."""
        own, reference = (
            self._samples.get(_key(name, parameters), [None] * self._rounds)[turn]
            for name in (target, self._references.get(target, ""))
        )
        if own is None:
            return {}
        if self._experiment.derive is None or reference is None or reference is own:
            return own.figures
        return own.figures | self._experiment.derive(own.figures, reference.figures)

    def _about_the_reference(self, samples: Sequence[Sample]) -> Iterator[str]:
        """That it has no figure that it would be held against itself for."""
        if self._experiment.derive is None:
            return
        for name in {n for s in samples for n in self._experiment.derive(s.figures, s.figures)}:
            yield f"{name}: 0 by definition, as this is the baseline"

    def _figure(self, name: str, runs: list[float | None], rounded: float) -> results.Figure:
        kind = kind_of(name)
        found = widened(interval([run for run in runs if run is not None], self._seed), rounded)
        return results.Figure(*found, kind.unit, runs, kind.better)

    def _ratios(self, cells: list[results.Cell]) -> Iterator[results.Ratio]:
        """Every figure that is compared, over that of the baseline in the same round."""
        base = {_setting(c.parameters): c for c in cells if c.target == self._baseline}
        samples = [s for runs in self._samples.values() for s in runs if s is not None]
        rounded = {name for sample in samples for name in sample.rounded}
        for cell in cells:
            other = base.get(_setting(cell.parameters))
            if other is None or other is cell or not (rankable(cell) and rankable(other)):
                continue  # whose pace was not the server's is not ranked
            for name in cell.figures:
                # Steps of rounding do not cancel in pairs: equal ones would be exact.
                if kind_of(name).compared and name in other.figures and name not in rounded:
                    yield from self._ratio(cell, other, name)

    def _ratio(self, cell: results.Cell, other: results.Cell, name: str) -> Iterator[results.Ratio]:
        """Of what both have in a round; nothing is 0 times as much, and nothing is left out."""
        pairs = [
            (one, two)
            for one, two in zip(cell.figures[name].runs, other.figures[name].runs, strict=True)
            if one is not None and two is not None
        ]
        void = sum(two <= 0 for _, two in pairs)
        if void:
            cell.notes.append(
                f"{name}: no ratio to {other.target}, whose was 0 in {void} of {len(pairs)} rounds"
            )
        elif pairs:
            found = paired_ratio([one for one, _ in pairs], [two for _, two in pairs], self._seed)
            ratio = _as_open_as(found, cell.figures[name], other.figures[name])
            said = verdict(ratio, kind_of(name).better)
            yield results.Ratio(cell.target, cell.parameters, name, other.target, *ratio, said)


def _notes(samples: Iterable[Sample]) -> Iterator[str]:
    for sample in samples:
        yield from sample.notes
        yield from sample.withheld.values()


def _setting(parameters: Parameters) -> tuple[tuple[str, int | float | str], ...]:
    return tuple(sorted(parameters.items()))


def _key(target: str, parameters: Parameters) -> Key:
    return target, _setting(parameters)


def _limit(found: list[Sample]) -> str | None:
    """What limited a cell: the generator where it limited half of the runs, or more.

    It limits the fastest runs first.  So none of those that it did limit is left out: what is
    left would be the slower ones.
    """
    broken = [sample for sample in found if sample.error]
    if broken:
        return _most_common(broken)
    fit = [sample for sample in found if sample.limited_by != "generator"]
    if len(fit) <= len(found) / 2:
        return "generator" if found else None
    return _most_common(fit)


def _may_be_better(figure: results.Figure) -> results.Figure:
    """*figure* with an interval that has no end on its better side.

    In a run that the generator limited the server did as well as this, and nobody knows how
    much better it would have done.
    """
    if figure.better == "more":
        return replace(figure, high=None)
    return replace(figure, low=None) if figure.better == "less" else figure


def _as_open_as(ratio: Interval, ours: results.Figure, theirs: results.Figure) -> Interval:
    """*ratio* without the ends that the intervals of its figures do not have."""
    low = None if ours.low is None or theirs.high is None else ratio.low
    high = None if ours.high is None or theirs.low is None else ratio.high
    return Interval(ratio.median, low, high)


def _most_common(samples: list[Sample]) -> str | None:
    """What limited most of the runs."""
    return Counter(sample.limited_by for sample in samples).most_common(1)[0][0]


def _typical(samples: list[Sample]) -> Sample | None:
    """The run whose first figure is nearest to the median of all: its series are shown."""
    fit = [sample for sample in samples if sample.series and sample.figures]
    if not fit:
        return None
    first = next(iter(fit[0].figures))
    having = [sample for sample in fit if first in sample.figures]
    middle = median(sample.figures[first] for sample in having)
    return min(having, key=lambda sample: abs(sample.figures[first] - middle))

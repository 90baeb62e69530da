"""The results as JSON (RFC 8259)."""

import json
from collections.abc import Sequence
from typing import Any

from .engine import Result
from .job import Run
from .rubric import Score

__all__ = ["many_as_json", "one_as_json"]


def one_as_json(run: Run, score: Score | None = None) -> str:
    """One target's: ``target``, ``design`` and ``checks``, and what there is beside.

    :param score: by a rubric, if there is one.
    """
    fields = _described(run)
    if run.error is not None:
        fields["error"] = run.error
    if score is not None:
        fields["points"] = _points(score)
    return _text(fields)


def many_as_json(runs: Sequence[Run], scores: Sequence[Score | None]) -> str:
    """Those of many: a list ``targets``, each also with its level, error and points."""
    targets = [
        {
            **_described(run),
            "level": str(run.job.level),
            "error": run.error,
            "points": score and _points(score),
        }
        for run, score in zip(runs, scores, strict=True)
    ]
    return _text({"targets": targets})


def _text(fields: dict[str, Any]) -> str:
    return json.dumps(fields, indent=2) + "\n"


def _described(run: Run) -> dict[str, Any]:
    return {
        "target": run.report.target,
        "design": run.report.design,
        "checks": [_check(result) for result in run.report.results],
    }


def _check(result: Result) -> dict[str, Any]:
    return {
        "id": result.check.id,
        "requirement": result.check.requirement,
        "source": result.check.source,
        "outcome": result.outcome.value,
        "expected": result.expected,
        "got": result.got,
        "seconds": round(result.seconds, 4),
    }


def _points(score: Score) -> dict[str, Any]:
    return {
        "total": score.total,
        "of": score.of,
        "groups": {
            item.name: {"points": round(item.points, 4), "of": item.of, "left_out": item.left_out}
            for item in score.items
        },
    }

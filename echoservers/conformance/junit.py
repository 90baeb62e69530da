"""The results as JUnit XML, which servers of continuous integration read.

There is no standard; this is what Jenkins' schema (junit-10.xsd of its xUnit plugin) and
that of Ant's reports both take: a ``testsuite`` is a target, a ``testcase`` a check.
"""

import re
import socket
import time
from collections.abc import Sequence
from xml.etree import ElementTree

from .engine import Outcome, Result
from .job import Run

__all__ = ["as_junit"]

_NOT_ALLOWED = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""XML 1.0, section 2.2, but for the carriage return, which readers make a line feed."""


def as_junit(runs: Sequence[Run]) -> str:
    """The document, with its declaration."""
    root = ElementTree.Element("testsuites")
    for number, run in enumerate(runs):
        root.append(_suite(number, run))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _suite(number: int, run: Run) -> ElementTree.Element:
    results = run.report.results
    name = _allowed(run.report.target)
    suite = ElementTree.Element(
        "testsuite",
        name=name,
        package="echoservers",
        id=str(number),
        timestamp=time.strftime("%Y-%m-%dT%H:%M:%S"),
        hostname=_allowed(socket.gethostname()) or "localhost",
        tests=str(len(results) + (run.error is not None)),
        failures=str(run.count(Outcome.FAIL)),
        errors=str(int(run.error is not None)),
        skipped=str(run.count(Outcome.SKIP)),
        time=f"{run.seconds:.3f}",
    )
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in (("design", run.report.design), ("level", str(run.job.level))):
        if value:
            ElementTree.SubElement(properties, "property", name=key, value=_allowed(value))
    suite.extend(_case(name, result) for result in results)
    if run.error is not None:
        case = ElementTree.SubElement(
            suite, "testcase", classname=name, name="the target", time="0"
        )
        ElementTree.SubElement(case, "error", type="TargetError", message=_allowed(run.error))
    for stream in ("system-out", "system-err"):  # Ant's schema wants them
        ElementTree.SubElement(suite, stream)
    return suite


def _case(target: str, result: Result) -> ElementTree.Element:
    check = result.check
    case = ElementTree.Element(
        "testcase", classname=target, name=check.id, time=f"{result.seconds:.3f}"
    )
    if result.outcome is Outcome.SKIP:
        ElementTree.SubElement(case, "skipped", message=_allowed(result.got))
    elif result.outcome is Outcome.FAIL:
        failure = ElementTree.SubElement(
            case, "failure", type="CheckFailed", message=_allowed(check.requirement)
        )
        failure.text = _allowed(
            f"{check.requirement} ({check.source})\n"
            f"expected: {result.expected}\ngot: {result.got}\n"
        )
    return case


def _allowed(text: str) -> str:
    """*text* with what no XML document can hold spelled out."""
    return _NOT_ALLOWED.sub(lambda c: c[0].encode("unicode_escape").decode("ascii"), text)

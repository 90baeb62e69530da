"""``echoservers modes``: what there is, in a table for people or as JSON."""

import json

from ..registry import Mode, modes
from . import DONE
from .arguments import Parser

_SHOWN_AS_JSON = ("name", "model", "transport", "aliases", "available", "reason")


def run(arguments: list[str]) -> int:
    """Print every mode."""
    parser = Parser("modes", description="List the modes and say which are available here.")
    parser.add_argument("--json", action="store_true", help="as a list of objects")
    found = modes()
    if parser.parse(arguments).json:
        rows = [{key: getattr(mode, key) for key in _SHOWN_AS_JSON} for mode in found]
        _print(json.dumps(rows, indent=2))
    else:
        _print(_table(found))
    return DONE


def _print(text: str) -> None:
    """Print *text*; more than a buffer holds can fail before the end of the program."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = f"cannot write to standard output: {error.strerror}"
        raise OSError(error.errno, reason) from error


def _table(found: list[Mode]) -> str:
    rows = [("MODE", "SERVES A CLIENT", "GOOD FOR", "HERE")]
    rows += [
        (m.name, m.serves, m.good_for, "yes" if m.available else f"no: {m.reason}") for m in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[3]]).rstrip())
    return "\n".join(lines)

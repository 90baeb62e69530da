"""``echoservers modes``: what there is, in a table for people or as JSON."""

import json

from ..errors import OptionError
from ..hints import did_you_mean
from ..registry import Mode, modes
from . import DONE, say
from .arguments import Parser

_SHOWN_AS_JSON = ("name", "model", "transport", "aliases", "available", "reason")


def run(arguments: list[str]) -> int:
    """Print every mode, or those of some models and transports."""
    parser = Parser("modes", description="List the modes and say which are available here.")
    parser.add_argument("--json", action="store_true", help="as a list of objects")
    parser.add_argument(
        "only",
        nargs="*",
        metavar="MODEL|TRANSPORT",
        help="only the modes of these (tcp, threading, ...)",
    )
    given = parser.parse(arguments)
    found = _chosen(modes(), given.only)
    if given.json:
        rows = [{key: getattr(mode, key) for key in _SHOWN_AS_JSON} for mode in found]
        say(json.dumps(rows, indent=2))
    else:
        say(_table(found))
    return DONE


def _chosen(found: list[Mode], only: list[str]) -> list[Mode]:
    models = {mode.model for mode in found}
    transports = {mode.transport for mode in found}
    for word in only:
        if word not in models | transports:
            hint = did_you_mean(word, sorted(models | transports))
            raise OptionError(
                f"there is no model and no transport {word!r}{hint}; models are"
                f" {', '.join(sorted(models))}; transports are {', '.join(sorted(transports))}"
            )
    wanted_models = models & set(only) or models
    wanted_transports = transports & set(only) or transports
    return [m for m in found if m.model in wanted_models and m.transport in wanted_transports]


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

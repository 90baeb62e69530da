"""What the subcommands share: a parser whose errors are one line, and option flags."""

import argparse
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from ..options import Option

__all__ = ["Parser", "add_option_flags", "given_options"]

_UNGIVEN = argparse.SUPPRESS


class Parser(argparse.ArgumentParser):
    """An argument parser that tells an error in one line and takes ``--idle_timeout`` too."""

    def __init__(self, command: str, **kwargs: Any) -> None:
        super().__init__(
            prog=f"echoservers {command}".strip(),
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """Parse; the first argument that nobody knows is an error that lists the flags."""
        spelled = [_with_dashes(argument) for argument in arguments]
        namespace, unknown = self.parse_known_args(spelled)
        if unknown:
            flags = [f for f in self._option_string_actions if f.startswith("--")]
            near = get_close_matches(unknown[0].partition("=")[0], flags, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            self.error(f"unknown argument {unknown[0]}{hint}; accepted are {', '.join(flags)}")
        return namespace

    def error(self, message: str) -> NoReturn:
        """Tell *message* and exit with 2."""
        print(f"echoservers: error: {message}", file=sys.stderr)
        raise SystemExit(2)


def _with_dashes(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument.partition("=")
    return flag.replace("_", "-") + equals + value


def add_option_flags(
    group: argparse._ArgumentGroup, options: Mapping[str, Option], server_class: type
) -> None:
    """A flag for each option of *server_class*, with its unit, meaning and default."""
    for name, option in options.items():
        default = getattr(server_class, name)
        if option.unit == "octal":
            default = f"{default:o}"
        group.add_argument(
            "--" + name.replace("_", "-"),
            dest=name,
            metavar=option.unit.upper() if option.unit.isalpha() else option.unit,
            default=_UNGIVEN,
            help=f"{option.meaning} (default: {str(default).lower()})",
        )


def given_options(namespace: argparse.Namespace, options: Mapping[str, Option]) -> dict[str, str]:
    """The options that were given as flags, still as text."""
    return {name: getattr(namespace, name) for name in options if hasattr(namespace, name)}

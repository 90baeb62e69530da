"""What the subcommands share: a parser whose errors are one line, and option flags."""

import argparse
import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from .._version import __version__
from ..errors import OptionError
from ..hints import did_you_mean
from ..options import Option
from . import COMMANDS

__all__ = ["Parser", "add_option_flags", "given_options", "value_read_by"]

_UNGIVEN = argparse.SUPPRESS


def _formatter(prog: str) -> argparse.HelpFormatter:
    # Told the width, it does not import shutil for it: that is a third of a server's start.
    width = os.environ.get("COLUMNS", "")
    return argparse.RawDescriptionHelpFormatter(prog, width=int(width) if width.isdigit() else 80)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours, and that takes ``--idle_timeout`` too."""

    def __init__(self, command: str, **kwargs: Any) -> None:
        super().__init__(
            prog=f"echoservers {command}".strip(),
            allow_abbrev=False,
            formatter_class=_formatter,
            **kwargs,
        )
        self._words = [] if command else [*COMMANDS]
        if self.add_help:
            self.add_argument(
                "--version",
                action="version",
                version=f"echoservers {__version__}",
                help="show the version and exit",
            )

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """Parse *arguments*.

        :raises OptionError: a bad value, or an argument that nobody knows; the message
            lists what is accepted.
        """
        spelled = [_with_dashes(argument) for argument in arguments]
        namespace, unknown = self.parse_known_args(spelled)
        if unknown:
            accepted = [f for f in self._option_string_actions if f.startswith("--")]
            if not unknown[0].startswith("-"):
                accepted = self._words + accepted
            hint = did_you_mean(unknown[0].partition("=")[0], accepted)
            self.error(f"unknown argument {unknown[0]}{hint}; accepted are {', '.join(accepted)}")
        return namespace

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print and exit for.

        :raises OptionError: always.
        """
        raise OptionError(message.removeprefix("argument "))


def _with_dashes(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument.partition("=")
    return flag.replace("_", "-") + equals + value


def value_read_by(read: Callable[[Any], Any]) -> Callable[[str], Any]:
    """What argparse calls for a value that an option would read with *read*."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error}, not {text!r}") from None

    return convert


def add_option_flags(
    group: argparse._ArgumentGroup, options: Mapping[str, Option], server_class: type
) -> None:
    """A flag for each option of *server_class*, with its unit, meaning and default."""
    for name, option in options.items():
        group.add_argument(
            "--" + name.replace("_", "-"),
            dest=name,
            type=value_read_by(option.read),
            metavar=option.unit.upper() if option.unit.isalpha() else option.unit,
            default=_UNGIVEN,
            help=f"{option.meaning} (default: {_shown(getattr(server_class, name), option.unit)})",
        )


def _shown(default: object, unit: str) -> str:
    if unit == "octal":
        return f"{default:o}"
    if isinstance(default, float):
        return f"{default:g}"
    return "none" if default is None else str(default)


def given_options(namespace: argparse.Namespace, options: Mapping[str, Option]) -> dict[str, Any]:
    """The values of the options that were given as flags."""
    return {name: getattr(namespace, name) for name in options if hasattr(namespace, name)}

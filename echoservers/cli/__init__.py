"""The command line: one file a subcommand; nothing else prints, parses or exits.

    python -m echoservers --mode threading-tcp     serve (the word `serve` may be left out)
    python -m echoservers modes                    every mode, and whether it works here
    python -m echoservers client ENDPOINT          talk to a server
    python -m echoservers check TARGET             tell whether a server is right
    python -m echoservers compare TARGET ...       measure servers side by side

Exit codes: 0 done; 1 it failed; 2 wrong usage; 3 a target could not be started or reached.
An error is one line on standard error.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

__all__ = ["main", "say"]

COMMANDS = {
    "serve": "serve in one of the modes (the default)",
    "modes": "list the modes and say which are available here",
    "client": "send lines to an echo server, or measure round trips",
    "check": "tell whether a server is right: one, many, or a folder of them",
    "compare": "measure servers side by side",
}

DONE, FAILED, WRONG_USAGE, NOT_REACHED = 0, 1, 2, 3
INTERRUPTED = 130  # as shells have it: ended by SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    :param argv: the arguments; those of the process by default.
    :returns: the exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = "serve"
    if arguments and arguments[0] in COMMANDS:
        command = arguments.pop(0)
    try:
        _open_standard_streams()
        return _run(command, arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; there is nobody left to tell.
        sys.stdout = None
        return FAILED
    except Exception as error:
        code, message = _explain(error)
        _tell(f"echoservers: error: {message}")
        return code


def _run(command: str, arguments: list[str]) -> int:
    run: Callable[[list[str]], int] = import_module(f"{__name__}.{command}").run
    try:
        code = run(arguments)
    except SystemExit:  # argparse has printed the help
        code = DONE
    if sys.stdout is not None:
        sys.stdout.flush()  # while an error can be told
    return code


def _open_standard_streams() -> None:
    """Give to /dev/null what is closed of descriptors 0 to 2, before a socket gets them."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free, so this one
        if getattr(sys, name) is None:
            stream = open(descriptor, "w" if descriptor else "r", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def _broken_output() -> OSError | None:
    """Why standard output cannot be written, if it cannot."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        sys.stdout = None  # else the interpreter would try again, and complain
        return error
    return None


class OutputLost(Exception):
    """Standard output cannot be written; the message says why."""


class ResultsLost(Exception):
    """Results could not be got, or not be written to files; the message says which and why."""


def say(text: str) -> None:
    """Print *text* on standard output, now.

    :raises OutputLost: it cannot be written.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stdout = None  # else the interpreter would try again, and complain
        raise OutputLost(error.strerror) from error


def _tell(line: str) -> None:
    from ..log import escape

    try:
        print(escape(line), file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = None  # full or gone: the exit code has to say it


def _explain(error: Exception) -> tuple[int, str]:
    """The exit code and the line for an error that stands for no fault of ours."""
    from ..errors import EchoServersError, ModeNotAvailable, TargetError

    if isinstance(error, ModeNotAvailable):
        return FAILED, str(error)
    if isinstance(error, OutputLost):
        return FAILED, f"cannot write to standard output: {error}"
    if isinstance(error, ResultsLost):
        return FAILED, str(error)
    if isinstance(error, EchoServersError):
        return NOT_REACHED if isinstance(error, TargetError) else WRONG_USAGE, str(error)
    if isinstance(error, OSError):
        broken = _broken_output()
        if broken is not None:
            return FAILED, f"cannot write to standard output: {broken.strerror}"
        reason = error.strerror or str(error)
        return FAILED, reason if error.filename is None else f"{error.filename}: {reason}"
    raise error

"""The command line: one file a subcommand; nothing else prints, parses or exits.

    python -m echoservers --mode threading-tcp     serve (the word `serve` may be left out)
    python -m echoservers modes                    every mode, and whether it works here
    python -m echoservers client ENDPOINT          talk to a server

Exit codes: 0 done; 1 it failed; 2 wrong usage.  An error is one line on standard error.
"""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

__all__ = ["main"]

COMMANDS = {
    "serve": "serve in one of the modes (the default)",
    "modes": "list the modes and say which are available here",
    "client": "send lines to an echo server, or measure round trips",
}

DONE, FAILED, WRONG_USAGE = 0, 1, 2


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
        run: Callable[[list[str]], int] = import_module(f"{__name__}.{command}").run
        return run(arguments)
    except KeyboardInterrupt:
        return 130  # as shells have it: ended by SIGINT
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; there is nobody left to tell.
        sys.stdout = None
        return FAILED
    except Exception as error:
        code, message = _explain(error)
        print(f"echoservers: error: {message}", file=sys.stderr)
        return code


def _explain(error: Exception) -> tuple[int, str]:
    """The exit code and the line for an error that stands for no fault of ours."""
    from ..errors import EchoServersError, ModeNotAvailable

    if isinstance(error, ModeNotAvailable):
        return FAILED, str(error)
    if isinstance(error, EchoServersError):
        return WRONG_USAGE, str(error)
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return FAILED, reason if error.filename is None else f"{error.filename}: {reason}"
    raise error

"""Tell Ctrl-C at the program from an exception that a handler raised."""

import signal
import threading

__all__ = ["is_users_interrupt"]


def is_users_interrupt(error: BaseException) -> bool:
    """Whether *error* is Ctrl-C at a program that lets it interrupt its main thread.

    Only there can a KeyboardInterrupt come from outside; anywhere else (a worker thread,
    a forked child, a program with its own SIGINT handler) the handler has raised it.
    """
    return (
        isinstance(error, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )

"""Submissions: a folder with one file or folder for each, which one command starts.

    check --submissions DIR --command "python3 {file} {port}"

``{file}`` is the absolute path of the submission, ``{dir}`` the folder in which it is built
and run: itself where it is a folder, else a fresh one that is removed afterwards.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from ..errors import OptionError
from ..targets import Target

__all__ = ["find_submissions", "read_build", "submission_target"]


def find_submissions(folder: str) -> list[Path]:
    """The files and folders in *folder* by name, without hidden ones and caches.

    :raises OptionError: there is no such folder, or nothing in it.
    """
    try:
        entries = sorted(Path(folder).resolve().iterdir())
    except OSError as error:
        raise OptionError(f"the submissions {folder}: {error.strerror}") from error
    found = [e for e in entries if not e.name.startswith(".") and e.name != "__pycache__"]
    if not found:
        raise OptionError(f"the submissions {folder}: there is no file and no folder in it")
    return found


def submission_target(path: Path, command: str, transport: str | None) -> Target:
    """The server that *path* is, by the command for all.

    :raises OptionError: the command does not say where the address belongs.
    """
    target = Target.of_command(command, transport, name=path.name)
    if not any("{file}" in word or "{dir}" in word for word in target.command):
        raise OptionError(
            f"the command {command!r} is the same for every submission; put {{file}} or {{dir}}"
            " into it, for example 'python3 {file} {port}'"
        )
    folder = str(path) if path.is_dir() else None
    fields = (("{file}", str(path)),) + (() if folder is None else (("{dir}", folder),))
    return target._replace(directory=folder, fields=fields)


def read_build(text: str | None) -> Sequence[str]:
    """The program and arguments of a build step.

    :raises OptionError: its quotes do not match.
    """
    try:
        return shlex.split(text or "")
    except ValueError as error:
        raise OptionError(f"the build {text!r} cannot be read: {error}") from None

"""Files with results: complete or as they were before, and known beforehand to be writable."""

import os
import secrets
import stat
from pathlib import Path

from ..errors import OptionError

__all__ = ["check_writable", "save"]


def check_writable(path: str) -> None:
    """See that *path* can be saved to, without changing it.

    :raises OptionError: it cannot.
    """
    try:
        if _is_special(path):
            # Not opened: whoever reads a pipe would see its end.
            if not os.access(path, os.W_OK):
                raise OptionError(f"cannot write to {path}: Permission denied")
            return
        if os.path.isdir(path):
            raise OptionError(f"cannot write to {path}: it is a folder; give the name of a file")
        made = _make_beside(path)
    except OSError as error:
        raise OptionError(f"cannot write to {path}: {error.strerror}") from error
    os.close(made[0])
    made[1].unlink()


def save(path: str, text: str) -> None:
    """Write *text* to *path*, at once for whoever reads: what was there is replaced.

    A file beside it becomes it (rename(2)); what is no file, such as a pipe, is written to.

    :raises OSError: it cannot be written; then it is as it was.
    """
    data = text.encode("utf-8", "backslashreplace")
    if _is_special(path):
        Path(path).write_bytes(data)
        return
    descriptor, beside = _make_beside(path)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)  # else a crash of the machine could leave the new name empty
        if os.path.exists(path):
            beside.chmod(stat.S_IMODE(os.stat(path).st_mode))
        beside.replace(os.path.realpath(path))
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _is_special(path: str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _make_beside(path: str) -> tuple[int, Path]:
    """A new file in the folder of *path*, that nobody else has."""
    target = Path(os.path.realpath(path))  # a link stays one
    beside = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}")
    return os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), beside

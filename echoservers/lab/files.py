"""Files that are replaced as a whole, all of them or none: a full disk harms no earlier one."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["replace_all"]


def replace_all(files: Mapping[Path, bytes], what: str) -> None:
    """Write *files*, in folders that are made where they are missing; then put all in place.

    :param what: they are, for the message, such as ``the results in DIR``.
    :raises OSError: they cannot be written; what was there before still is, unless it says so.
    """
    new = {path: path.with_name(path.name + ".new") for path in files}
    kept = "what was saved before is still there"
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            new[path].write_bytes(content)
        for path, written in new.items():
            os.replace(written, path)
            kept = "a part of what was saved before is replaced already"
    except OSError as error:
        message = f"cannot save {what}: {error.strerror}; {kept}"
        raise OSError(error.errno, message) from error
    finally:  # interrupted, too
        for written in new.values():
            with contextlib.suppress(OSError):
                written.unlink(missing_ok=True)

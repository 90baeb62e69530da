"""What a check says of a server that fails it: what was expected, and what came.

And what it says where it lacks something itself, which is no fault of the server.
"""

import errno
import resource

__all__ = ["CheckFailed", "CheckSkipped", "difference", "lack_of", "missing", "reason_of", "shown"]

SHOWN = 16
"""Bytes that are shown on each side of the first difference: a line of a hex dump."""


class CheckFailed(Exception):
    """The server does not do what it should.

    :param expected: what it should do, in words or bytes.
    :param got: what it did.
    :param cut: whether a connection was refused or ended: its end may be the server's.
    """

    def __init__(self, expected: str, got: str, cut: bool = False) -> None:
        super().__init__(f"expected {expected}; got {got}")
        self.cut = cut
        self.expected = expected
        self.got = got


class CheckSkipped(Exception):
    """The check cannot be made here; the message says why."""


def shown(data: bytes) -> str:
    """The first bytes of *data*, in hexadecimal and as text."""
    part = data[:SHOWN]
    text = "".join(chr(b) if 32 <= b < 127 else "." for b in part)
    return f"{part.hex(' ')} |{text}|" + (" ..." if len(data) > SHOWN else "")


def missing(expected: bytes, offset: int) -> tuple[str, str]:
    """The words for *expected*, and for the first *offset* bytes of it."""
    size = len(expected)
    return f"{size} bytes: {shown(expected)}", f"{offset} of {size}" if offset else "nothing"


def difference(
    expected: bytes, data: bytes, offset: int, then: str = "", cut: bool = False
) -> CheckFailed:
    """Shown at the first byte of *data* that is not that of *expected* at *offset*."""
    wanted = expected[offset : offset + len(data)]
    same = next((i for i, (a, b) in enumerate(zip(wanted, data, strict=False)) if a != b), None)
    if same is None:  # one is the beginning of the other
        size = f"{len(data)} bytes: {shown(data)}" if data else "nothing"
        return CheckFailed(f"{len(expected)} bytes: {shown(expected)}", size + then, cut)
    begin = max(0, same - SHOWN // 2)
    return CheckFailed(
        f"at byte {offset + same}: {shown(expected[offset + begin :])}",
        shown(data[begin:]) + then,
        cut,
    )


def lack_of(error: BaseException | None) -> CheckSkipped | None:
    """Why a check cannot be made, if *error* is for want of something of our own."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EMFILE:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return CheckSkipped(
            f"the checker may have no more than {most} open descriptors, which are too few;"
            " raise the hard limit (ulimit -Hn)"
        )
    if number == errno.ENFILE:
        return CheckSkipped("this system can open no more files (sysctl fs.file-max)")
    if number == errno.EADDRNOTAVAIL:
        return CheckSkipped(
            "this system has no port left for another client (sysctl net.ipv4.ip_local_port_range)"
        )
    return None


def reason_of(error: OSError) -> str:
    """The system's words for *error*, to go on a sentence with."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]

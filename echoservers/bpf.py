"""Programs that the kernel runs over what arrives at a socket (bpf(4), socket(7); Linux)."""

import socket
import struct
from array import array
from collections.abc import Sequence

__all__ = ["attach_program"]


def attach_program(
    sock: socket.socket, option: int, program: Sequence[tuple[int, int, int, int]]
) -> bool:
    """Have the kernel run *program* for *sock*; False where it does not.

    :param option: SO_ATTACH_FILTER, or one of its kind.
    :param program: instructions: operation, steps if true, steps if not, number.
    """
    code = array("B", b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    address, _ = code.buffer_info()
    try:
        sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("@HP", len(program), address))
    except OSError:
        return False
    return True

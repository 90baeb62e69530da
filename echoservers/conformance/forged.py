"""ForgedSocket: sends from a UDP port that another socket has, as a forger would.

Who has a port at every address leaves none of them for others to bind it at.  A raw socket
needs no port: it writes the header itself, and is given a copy of what comes to its address.
"""

import socket
import struct
from typing import Any

from .open_socket import OpenSocket

__all__ = ["ForgedSocket"]

HEADER = struct.Struct("!HHHH")
"""The port it is from, the port it is for, the length with this, the checksum (RFC 768)."""

NO_CHECKSUM = 0
"""What the sender of a datagram over IPv4 may leave out (RFC 768)."""


class ForgedSocket(OpenSocket):
    """A raw socket over IPv4 that seems to be a UDP socket; it does not block.

    :param source: the address and the port that it seems to be at; the address is this machine's.
    :param target: whom it asks.
    :raises PermissionError: this user may not have raw sockets (CAP_NET_RAW).
    """

    def __init__(self, source: tuple[str, int], target: tuple[str, int]) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        self._source = source
        self.target = target
        self.setblocking(False)
        try:
            self.bind((source[0], 0))
        except OSError:
            self.close()
            raise

    def getsockname(self) -> tuple[str, int]:
        """Where it seems to be."""
        return self._source

    def send(self, data: Any, flags: int = 0) -> int:
        """Send a datagram to the target."""
        header = HEADER.pack(self._source[1], self.target[1], HEADER.size + len(data), NO_CHECKSUM)
        return self.sendto(header + data, flags, (self.target[0], 0)) - HEADER.size

    def has_reply(self) -> bool:
        """Whether the next datagram is from the target's port to this one."""
        packet = self.recv(65535)
        start = (packet[0] & 15) * 4  # IHL, in words of 32 bits (RFC 791, 3.1)
        ports = HEADER.unpack_from(packet, start)[:2]
        return ports == (self.target[1], self._source[1])

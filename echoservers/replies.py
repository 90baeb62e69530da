"""How a datagram is received and answered, and when it must not be.

A datagram's source can be forged.  An echo server that answers every one can be made to
talk to another echo server, or to itself, for ever (CVE-1999-0103, CVE-2024-2169), or to
flood somebody who never asked.  So no reply goes

- to a reserved port, or to our own port: another such service may live there (the rule
  of inetd's internal services),
- for a datagram that was sent to a broadcast or multicast address,
- with more bytes than were received, unless to this machine.

A reply leaves from the address that was asked, and never waits for the peer.  Two servers on
other ports that a forged datagram has set at each other: see `echoservers.bounces`.
"""

import errno
import socket
import struct
from typing import Any

from .addresses import normalise

__all__ = [
    "DROP_REASON_OF_ERROR",
    "IP_PKTINFO",
    "MAX_DATAGRAM",
    "PACKET_INFO_ROOM",
    "RESERVED_PORTS",
    "AnsweringSocket",
    "is_local",
    "reply_origin",
]

MAX_DATAGRAM = 65535
"""Bytes: more than any UDP datagram carries (65,507 over IPv4, 65,527 over IPv6)."""

RESERVED_PORTS = 1024
"""Ports below this one belong to services: echo 7, chargen 19, DNS 53, NTP 123, ..."""

IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8 if hasattr(socket, "SO_PEERCRED") else None)
_IN_PKTINFO = struct.Struct("=I4s4s")  # ip(7): interface, our address, destination
_IN6_PKTINFO = struct.Struct("=16sI")  # ipv6(7): destination, interface
_IPV4_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291, 2.5.5.2
PACKET_INFO_ROOM = socket.CMSG_SPACE(_IN6_PKTINFO.size)
"""Bytes of ancillary data that hold either."""

DROP_REASON_OF_ERROR = {
    errno.EAGAIN: "peer_full",
    errno.ENOBUFS: "peer_full",
    errno.EMSGSIZE: "too_long",
    errno.ECONNREFUSED: "peer_gone",
    errno.ECONNRESET: "peer_gone",
    errno.ENOENT: "peer_gone",
    errno.ENOTCONN: "peer_gone",
    errno.EPROTOTYPE: "peer_gone",
    errno.EPERM: "peer_gone",  # a firewall rule
    errno.EACCES: "peer_gone",
    errno.EHOSTUNREACH: "peer_gone",
    errno.ENETUNREACH: "peer_gone",
    errno.EADDRNOTAVAIL: "peer_gone",
    errno.EINVAL: "peer_gone",  # an address that cannot be sent to
    errno.EPIPE: "peer_gone",  # a Unix peer that has shut its input down
    errno.ENOTDIR: "peer_gone",  # its path has become another
    errno.ELOOP: "peer_gone",
}


class AnsweringSocket:
    """The server's socket, except that ``sendto`` leaves from the address that was asked.

    :param extra: the ancillary data that make it so (cmsg(3)), and any other.
    """

    __slots__ = ("_extra", "_socket")

    def __init__(self, sock: socket.socket, *extra: tuple[int, int, bytes]) -> None:
        self._socket = sock
        self._extra = extra

    def sendto(self, data: bytes, *flags_and_address: Any) -> int:
        """As `socket.socket.sendto`."""
        *flags, address = flags_and_address
        return self._socket.sendmsg([data], self._extra, flags[0] if flags else 0, address)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def reply_origin(level: int, info: bytes) -> bytes | None:
    """What makes a reply leave from the address asked; None if that is not ours alone."""
    if level == socket.IPPROTO_IP:
        _, ours, destination = _IN_PKTINFO.unpack(info)
        return None if ours != destination else _IN_PKTINFO.pack(0, ours, bytes(4))
    destination, interface = _IN6_PKTINFO.unpack(info)
    mapped = destination[:12] == _IPV4_MAPPED
    shared = 224 <= destination[12] <= 239 or destination[12:] == b"\xff" * 4 if mapped else False
    if shared or destination[0] == 0xFF:
        return None
    link_local = destination[0] == 0xFE and destination[1] & 0xC0 == 0x80  # RFC 4291, 2.4
    return _IN6_PKTINFO.pack(destination, interface if link_local else 0)


def is_local(client_address: Any) -> bool:
    """Whether only this machine can have sent from *client_address*."""
    if not isinstance(client_address, tuple):
        return True
    host = str(normalise(client_address)[0])
    return host.startswith("127.") or host == "::1"

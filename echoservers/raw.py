"""Raw IP: a datagram straight over IP, without ports, under a protocol number of its own.

Everybody who has a raw socket for the protocol receives every datagram, and there is no
port to tell a client from a server.  Two rules keep echo from becoming a loop: what comes
from an address of this server's own is not answered, and a reply travels with less time to
live than its datagram had.  A datagram that is forged to set two servers at each other is
answered `LONGEST_LIFE` times at most; then it is dropped (``unsafe_source``).
"""

import errno
import random
import socket
from sys import byteorder
from typing import Annotated, Any, TypeVar

from .addresses import family_of
from .errors import EndpointError
from .options import Option, count
from .replies import PACKET_INFO_ROOM, AnsweringSocket, reply_origin
from .system import EXPERIMENTAL_PROTOCOL, NO_PRIVILEGE
from .transports import DONT_WAIT, UDPServer

__all__ = ["RawClientSocket", "RawServer", "connect_raw", "ip_protocol", "strip_header"]

_Socket = TypeVar("_Socket", bound=socket.socket)

LONGEST_LIFE = 64
"""Time to live of a reply at most: the default of today's systems (RFC 1700), which is
further than any two hosts are apart."""

MOST_BEFORE = 10_000
"""Datagrams: more than a receive buffer holds, where net.core.rmem_default is as Linux has it
(208 KiB, 256 bytes at least each)."""

TAKEN = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}
"""Protocols of the system itself: an echo of theirs would answer, or break, what is not ours."""

LONGEST_HEADER = 60
"""Bytes: 15 words, the most that IHL can say (RFC 791, 3.1)."""

ROOM = PACKET_INFO_ROOM + socket.CMSG_SPACE(4)
"""Bytes of ancillary data: where a datagram was sent to, and the hops it had left."""


def ip_protocol(value: Any) -> int:
    """An IP protocol number that is free for this: 253 and 254 are made for experiments."""
    try:
        number = count(value)
    except ValueError:
        number = 0
    if number in TAKEN:
        raise ValueError(f"{number} is {TAKEN[number]}; expected 253 or 254 (RFC 3692)")
    if not 1 <= number <= 255:
        raise ValueError(
            "expected an IP protocol number from 1 to 255; 253 and 254 are for experiments"
        )
    return number


def strip_header(packet: memoryview | bytes, family: int) -> memoryview | bytes:
    """The payload of *packet*, as a raw socket receives it: of IPv4 with its header (raw(7))."""
    if family != socket.AF_INET:
        return packet
    return packet[(packet[0] & 15) * 4 :]  # IHL, in words of 32 bits (RFC 791, 3.1)


class RawServer(UDPServer):
    """A raw IP server: one handler a datagram, answered whole or not at all.

    The privilege CAP_NET_RAW is needed.  ``client_address`` is ``(host, 0)``.  On a wildcard
    address it answers other machines only: its replies to this one would come to itself.

    :param server_address: ``(host, 0)``, or the host alone.
    :raises PermissionError: this user may not have raw sockets.
    """

    # For socketserver, which cannot name a protocol; `server_bind` puts a raw one in its place.
    socket_type = socket.SOCK_DGRAM

    protocol: Annotated[
        int, Option(ip_protocol, "number", "IP protocol number, in both directions")
    ] = EXPERIMENTAL_PROTOCOL  # for experiments (RFC 3692): no other service has it

    def server_bind(self) -> None:
        """Make the raw socket and bind it; ask for each datagram's time to live."""
        if isinstance(self.server_address, str):
            self.server_address = (self.server_address, 0)
        if self.server_address[1]:
            raise EndpointError(f"raw IP has no ports; expected ({self.server_address[0]!r}, 0)")
        super().server_bind()
        # It has the protocol where a port would be.
        self.server_address = (self.server_address[0], 0, *self.server_address[2:])
        if self.address_family == socket.AF_INET6:
            self._life_info = (socket.IPPROTO_IPV6, int(socket.IPV6_HOPLIMIT))
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        else:
            self._life_info = (socket.IPPROTO_IP, int(socket.IP_TTL))
        _forget_others(self.socket)

    def _fit_family(self, host: Any) -> None:
        if type(self).address_family == socket.AF_INET:
            self.address_family = family_of(host, socket.SOCK_DGRAM)
        self.socket.close()
        self.socket = _raw_socket(socket.socket, self.address_family, self.protocol)

    def endpoint(self) -> str:
        """Where clients reach this server: ``raw://127.0.0.1``."""
        return super().endpoint().replace("udp:", "raw:", 1)

    def get_request(self) -> tuple[Any, Any]:
        """Receive a datagram: ``((payload, socket), (host, 0))``.

        :raises BlockingIOError: there is none.
        :raises RequestDropped: the datagram is not to be answered.
        """
        size, extra, _, source = self.socket.recvmsg_into([self._buffer], ROOM, DONT_WAIT)
        packet = self._buffer[:size]
        payload = strip_header(packet, self.address_family)
        self._check_size(len(payload))
        life = self._life_of(packet, extra)
        origin = self._origin(extra)
        if life < 1 or origin is None or self._is_ours(source[0]):
            raise self._dropped("unsafe_source")
        level, kind = self._life_info
        sock = AnsweringSocket(self.socket, *origin, (level, kind, life.to_bytes(4, byteorder)))
        message = bytes(payload)
        self._check_repeats(source, message)
        return (message, sock), source

    def _life_of(self, packet: memoryview, extra: Any) -> int:
        """What the reply may live: less than the datagram, which had come some way."""
        if self.address_family == socket.AF_INET:
            return min(packet[8] - 1, LONGEST_LIFE)  # RFC 791, 3.1
        for level, kind, data in extra:
            if (level, kind) == self._life_info:
                return min(int.from_bytes(data, byteorder) - 1, LONGEST_LIFE)
        return 0

    def _origin(self, extra: Any) -> list[tuple[int, int, bytes]] | None:
        """What makes the reply leave from the address asked; None: that is not ours alone."""
        for level, kind, data in extra:
            if (level, kind) == self._packet_info:
                origin = reply_origin(level, data)
                return None if origin is None else [(level, kind, origin)]
        return []

    def _is_ours(self, host: str) -> bool:
        """Whether a reply to *host* would come to this server itself."""
        if self._packet_info is None:
            return bool(host == self.server_address[0])
        return is_address_of_this_machine(host, self.address_family)


def _raw_socket(kind: type[_Socket], family: int, protocol: int) -> _Socket:
    try:
        return kind(family, socket.SOCK_RAW, protocol)
    except PermissionError as error:
        raise PermissionError(errno.EPERM, NO_PRIVILEGE) from error


def _forget_others(sock: socket.socket) -> None:
    """Throw away what came before *sock* was bound or connected: that may be for anybody."""
    timeout = sock.gettimeout()
    sock.setblocking(False)
    for _ in range(MOST_BEFORE):
        try:
            sock.recv(1)  # of 0 bytes Python would not ask the system
        except BlockingIOError:
            break  # there is no more
        except OSError:
            continue  # the fate of somebody else's datagram
    sock.settimeout(timeout)


def is_address_of_this_machine(host: str, family: int) -> bool:
    """Whether a socket can be bound to *host*: nothing is sent, nor does the port matter."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


class RawClientSocket(socket.socket):
    """A raw socket that receives payloads, as a UDP socket does."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        """The payload of the next datagram, at most *size* bytes of it."""
        header = LONGEST_HEADER if self.family == socket.AF_INET else 0
        return bytes(strip_header(super().recv(size + header, flags), self.family)[:size])


def connect_raw(host: str, protocol: int, source: str | None = None) -> RawClientSocket:
    """A raw socket that talks to *host*, from *source* where given: an address of this machine,
    and not *host*'s.

    To an address of this machine it talks from another one of its own, out of 127.0.0.0/8:
    from the same one, its datagrams would be taken for the server's own.

    :raises PermissionError: this user may not have raw sockets.
    :raises EndpointError: it cannot be told from the server at *host*.
    """
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    family, _, _, _, target = min(found, key=lambda f: f[0] != socket.AF_INET)
    sock = _connected(family, protocol, target, source)
    if source is not None or sock.getsockname()[0] != target[0]:
        return sock
    sock.close()
    if family != socket.AF_INET:
        raise EndpointError(
            f"raw://[{target[0]}] is an address of this machine, and IPv6 has no other to ask"
            " it from; try raw://127.0.0.1"
        )
    while True:
        # Any but the target: clients that run at the same time should differ, too.
        source = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        if source != target[0]:
            return _connected(family, protocol, target, source)


def _connected(family: int, protocol: int, target: Any, source: str | None) -> RawClientSocket:
    sock = _raw_socket(RawClientSocket, family, protocol)
    try:
        if source is not None:
            sock.bind((source, 0))
        sock.connect(target)
        _forget_others(sock)
    except BaseException:
        sock.close()
        raise
    return sock

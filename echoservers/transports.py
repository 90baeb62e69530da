"""TCP, UDP and Unix servers: `socketserver`'s four classes over the serving core.

Each is the iterative model by itself and takes a model's mixin in front.  A transport
knows how its socket is bound, where a request comes from, and how a datagram is answered.
"""

import os
import socket
import socketserver
from typing import Annotated, Any

from .accepting import Acceptor, acceptor
from .addresses import check_unix_path, family_of, normalise
from .admission import RequestDropped
from .bounces import Repeats, mark_replies
from .counters import DROP_CELL
from .datagrams import PlainPath, has_plain_path
from .log import logger
from .options import Option, count, count_or_none, file_mode
from .replies import (
    DROP_REASON_OF_ERROR,
    IP_PKTINFO,
    MAX_DATAGRAM,
    PACKET_INFO_ROOM,
    RESERVED_PORTS,
    AnsweringSocket,
    is_local,
    reply_origin,
)
from .serving import ServingMixIn
from .socket_files import folder_locked, remove_stale
from .timeouts import CONNECTIONS_INHERIT, limit_waits

__all__ = ["TCPServer", "UDPServer", "UnixDatagramServer", "UnixStreamServer"]

DONT_WAIT = int(socket.MSG_DONTWAIT)

_LINUX = hasattr(socket, "SO_PEERCRED")  # accept(2): elsewhere O_NONBLOCK is inherited


class TCPServer(ServingMixIn, socketserver.TCPServer):
    """A TCP server, one client at a time; IPv4 or IPv6 by the address it is given.

    On ``::`` it takes IPv4 clients too and shows their addresses as IPv4.

    :param server_address: ``(host, port)``; port 0 takes a free one.
    :raises OSError: the address cannot be had; nothing is left open then.
    :raises OptionError: an unknown option or a bad value.
    """

    # A server that restarts must not wait for the connections of the last one to time out.
    allow_reuse_address = True

    request_queue_size: Annotated[
        int, Option(count, "connections", "listen backlog: clients that wait to be accepted")
    ] = 1024  # the kernel cuts it to net.core.somaxconn, 4096 today and 128 before Linux 5.4

    #: The limit that accepted connections have from the listening socket already.
    inherited_timeout: float | None = None

    _accepts_from: Any = None
    _acceptor: Acceptor

    def server_bind(self) -> None:
        """Bind the socket: a family that fits the host, small replies not held back."""
        if isinstance(self.server_address, tuple):
            self._fit_family(self.server_address[0])
        if self._is_tcp:
            # Accepted sockets inherit it, so it costs nothing a connection.  With Nagle's
            # algorithm the second of two small replies waits for the peer's delayed ACK.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().server_bind()

    @property
    def _is_tcp(self) -> bool:
        return self.is_stream and self.address_family != socket.AF_UNIX

    def server_activate(self) -> None:
        """Listen; connections inherit the handler's time limit where they can."""
        # Before listen(): a connection has what was set when its handshake ended.  Only for
        # handlers that know of it: to others a limit of ours would be a surprise.
        wanted = getattr(self.RequestHandlerClass, "inheritable_timeout", None)
        if wanted and CONNECTIONS_INHERIT and self._is_tcp:
            if "inherited_timeout" not in vars(self):  # else another listener, to be as the first
                self.inherited_timeout = wanted(self)
            if self.inherited_timeout is not None:
                limit_waits(self.socket, self.inherited_timeout)
        super().server_activate()

    def _fit_family(self, host: Any) -> None:
        """Change the socket's family when *host* is of another."""
        if type(self).address_family != socket.AF_INET:
            return  # a subclass has said what it wants
        family = family_of(host, self.socket_type)
        if family != self.address_family:
            self.address_family = family
            self.socket.close()
            self.socket = socket.socket(family, self.socket_type)
        if family == socket.AF_INET6:
            # Said explicitly: the default is a system setting (net.ipv6.bindv6only).
            both = host == "::" or host.lower().startswith("::ffff:")
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)

    def _accept(self) -> tuple[Any, Any]:
        if self._accepts_from is not self.socket:  # the first time, or somebody has changed it
            self._accepts_from = self.socket
            self._acceptor = acceptor(self.socket)
        return self._acceptor()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; an IPv4 peer of a dual-stack socket appears as IPv4."""
        connection, client_address = self._accept()
        if not _LINUX:
            connection.setblocking(True)
        if self.address_family == socket.AF_INET6:
            client_address = normalise(client_address)
        return connection, client_address


class UDPServer(TCPServer, socketserver.UDPServer):
    """A UDP server: one handler a datagram, answered whole or not at all.

    Datagrams longer than ``max_message_size`` or ``max_packet_size``, and those that must
    not be answered (see `echoservers.replies`), are dropped and counted.
    """

    socket_type = socket.SOCK_DGRAM
    allow_reuse_address = False  # for UDP it would let another process take our datagrams
    max_packet_size = MAX_DATAGRAM

    max_repeats: Annotated[
        int | None,
        Option(
            count_or_none,
            "datagrams",
            "leave the next unanswered when one source has sent the same so often in a row: ends"
            " loops with other echo servers within 100 packets, if it is 32",
        ),
    ] = None  # a load generator sends the same for ever, and waits for each answer

    _repeats: Repeats | None = None
    _packet_info: tuple[int, int] | None = None
    _plain_path: PlainPath | None = None

    def server_bind(self) -> None:
        """Bind; on a wildcard address ask for each datagram's destination too."""
        super().server_bind()
        # One byte more than we take shows a longer datagram from one that just fits.
        self._buffer = memoryview(bytearray(self.max_packet_size + 1))
        self._longest_for_handler = getattr(self.RequestHandlerClass, "max_message_size", None)
        self._has_ports = isinstance(self.server_address, tuple)
        if self.socket.type == socket.SOCK_DGRAM and self._has_ports and self._only_replies():
            mark_replies(self.socket)
        self._repeats = None if self.max_repeats is None else Repeats(self.max_repeats)
        host = self.server_address[0] if self._has_ports else None
        if host == "0.0.0.0" and IP_PKTINFO is not None:
            self._packet_info = (socket.IPPROTO_IP, IP_PKTINFO)
            self.socket.setsockopt(*self._packet_info, 1)
        elif host == "::":
            self._packet_info = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)

    def server_activate(self) -> None:
        """Nothing to listen for."""

    def _only_replies(self) -> bool:
        """Whether nothing else is sent from the socket; a ``handle()`` may send what it likes."""
        return getattr(self.RequestHandlerClass, "ends_with_input", False)

    def _prepare_to_serve(self) -> None:
        super()._prepare_to_serve()
        self._plain_path = None
        if (
            self._serves_at_once
            and self._packet_info is None
            and self._takes_freely()
            and has_plain_path(self, UDPServer)
        ):
            longest = min(self.max_packet_size, self._longest_for_handler or 0)
            own_port = self.server_address[1] if self._has_ports else 0
            self._plain_path = PlainPath(self, self._buffer, longest, own_port)

    def _accept_batch(self) -> None:
        if self._plain_path is not None:
            self._plain_path.answer_batch()
        else:
            super()._accept_batch()

    def get_request(self) -> tuple[Any, Any]:
        """Receive a datagram: ``((data, socket), client_address)``.

        :raises BlockingIOError: there is none.
        :raises RequestDropped: the datagram is not to be answered.
        """
        if self._packet_info is None:
            sock: Any = self.socket
            size, source = sock.recvfrom_into(self._buffer, 0, DONT_WAIT)
        else:
            size, source, sock = self._receive_with_destination(self._packet_info)
        self._check_size(size)
        if self._has_ports:
            port = source[1]
            if port < RESERVED_PORTS or port == self.server_address[1]:
                raise self._dropped("unsafe_source")
        message = bytes(self._buffer[:size])
        if self._repeats is not None:
            self._check_repeats(source, message)
        return (message, sock), source

    def _check_repeats(self, source: Any, message: bytes) -> None:
        if self._repeats is not None and self._repeats.too_many(source, message):
            raise self._dropped("repeated")

    def _check_size(self, size: int) -> None:
        longest = self.max_message_size
        if longest is None:
            longest = self._longest_for_handler
        if size > self.max_packet_size or (longest is not None and size > longest):
            raise self._dropped("too_long")

    def _receive_with_destination(self, wanted: tuple[int, int]) -> tuple[int, Any, Any]:
        size, extra, _, source = self.socket.recvmsg_into(
            [self._buffer], PACKET_INFO_ROOM, DONT_WAIT
        )
        for level, kind, data in extra:
            if (level, kind) == wanted:
                origin = reply_origin(level, data)
                if origin is None:
                    raise self._dropped("unsafe_source")
                return size, source, AnsweringSocket(self.socket, (level, kind, origin))
        return size, source, self.socket

    def _dropped(self, reason: str) -> RequestDropped:
        self._activity.loop_cells[DROP_CELL[reason]] += 1
        return RequestDropped()

    def _count_drop(self, request: Any, reason: str) -> None:
        self._trouble.warning("dropping a reply: %s", reason)
        self.cells_of(request)[DROP_CELL[reason]] += 1

    def send_datagram(self, reply: bytes, request: Any, client_address: Any) -> int:
        """Send *reply* to *request*, or drop and count it; never waits.

        :param request: as ``get_request`` returned it.
        :returns: how many bytes were sent.
        :raises OSError: this server's own socket is at fault.
        """
        message, sock = request
        if not client_address:
            self._count_drop(request, "no_address")
        elif len(reply) > len(message) and not is_local(client_address):
            self._count_drop(request, "amplification")
        else:
            try:
                sent: int = sock.sendto(reply, DONT_WAIT, client_address)
                return sent
            except OSError as error:
                self.reply_failed(request, error)
        return 0

    def reply_failed(self, request: Any, error: OSError) -> None:
        """Count the reply to *request* as dropped.

        :raises OSError: this server's own socket is at fault.
        """
        reason = DROP_REASON_OF_ERROR.get(error.errno or 0)
        if reason is None:
            raise error
        self._count_drop(request, reason)


class _UnixPathServer(TCPServer):
    """Binding to a path: replaces a socket file nobody listens at, removes only its own."""

    address_family = socket.AF_UNIX

    socket_mode: Annotated[int, Option(file_mode, "octal", "permissions of the socket file")] = (
        0o600  # for its owner, as the home directories of today; whatever the umask is
    )

    _own_file: tuple[int, int] | None = None
    _own_path = ""
    _own_pid = 0

    def server_bind(self) -> None:
        """Bind the socket to its path, and listen: in one go, as seen by other servers of ours.

        :raises EndpointError: no Unix socket can have this path.
        :raises FileExistsError: something is there that must not be replaced.
        :raises OSError: a live server has the path, or it cannot be made, or another program
            keeps its folder locked.
        """
        path = self.server_address
        if not isinstance(path, str):
            path = os.fsdecode(path)
        check_unix_path(path)
        if path.startswith("\0"):  # abstract: no file, no permissions, gone with the socket
            super().server_bind()
            return
        with folder_locked(path):
            remove_stale(path, self.socket_type)
            # bind() makes the file with the socket's own mode, so it is never open to more.
            os.fchmod(self.socket.fileno(), self.socket_mode)
            super().server_bind()
            os.chmod(path, self.socket_mode)  # what the umask took away
            if self.is_stream:  # already: from here on others can tell that somebody has it
                self.socket.listen(self.request_queue_size)
            made = os.stat(path)
        self._own_path = os.path.abspath(path)  # the program may change its folder
        self._own_file = (made.st_dev, made.st_ino)
        self._own_pid = os.getpid()

    def close_listener(self) -> None:
        """Close the socket and remove its file, if it still is the one that we made."""
        super().close_listener()
        own, self._own_file = self._own_file, None
        if own is None or self._own_pid != os.getpid():
            return
        try:
            found = os.lstat(self._own_path)
            if (found.st_dev, found.st_ino) == own:
                os.unlink(self._own_path)
        except (FileNotFoundError, NotADirectoryError):
            return  # somebody has removed it already
        except OSError as error:
            logger.warning("cannot remove %s: %s", self._own_path, error.strerror)


class UnixStreamServer(_UnixPathServer, socketserver.UnixStreamServer):
    """A server on a Unix stream socket.

    :param server_address: the path; a socket file that nobody listens at is replaced,
        a live one and anything else is left alone.  The file is removed at the end, if it
        is still ours.
    """

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection."""
        return self._accept()


class UnixDatagramServer(_UnixPathServer, UDPServer, socketserver.UnixDatagramServer):
    """A server on a Unix datagram socket; a client must be bound to get replies.

    The kernel charges replies that a peer has not read to this socket.  A peer that reads
    none never blocks the server, but with large messages, or connected, it can use up the
    socket's send buffer (SO_SNDBUF); replies to others are then dropped and counted until
    it reads or closes.

    :param server_address: the path, as for `UnixStreamServer`.
    """

"""TLS over TCP: the handshake is the worker's, never the accept loop's.

A connection is wrapped when it is accepted, so that the request is the same object from
then on, and shakes hands in the seam that runs in the worker, ``finish_request``, within
`TLSServer.handshake_timeout`.  Who never says a ClientHello costs a worker for so long, and
nobody else.  From there on a `TLSConnection` is to its handler what a TCP one is.

A model with a loop of its own makes the connection non-blocking, calls ``do_handshake()``
on it until it raises neither SSLWantReadError nor SSLWantWriteError, and
`TLSServer.handshake_failed` when it raises anything else or takes too long.  One that
waits in its own way overrides `TLSServer.wrap_connection`.
"""

import select
import socket
import ssl
import time
from typing import Annotated, Any

from .addresses import peer_name
from .admission import RequestDropped
from .closing import LINGER_TIME
from .counters import HANDSHAKE_FAILED
from .log import Throttle, logger
from .options import LONGEST_TIME, Option, file_or_none, some_seconds
from .tls_contexts import reason_of, server_context, use_throwaway
from .transports import TCPServer

__all__ = ["TLSConnection", "TLSServer"]


class TLSConnection(ssl.SSLSocket):
    """An accepted connection that is shut down as a TCP connection is.

    `ssl.SSLSocket.shutdown` drops TLS first, whichever side is meant: what follows would
    be neither decrypted nor encrypted.
    """

    def shutdown(self, how: int) -> None:
        """End one side or both, behind a close_notify if the output is ended.

        SHUT_RD and SHUT_RDWR only touch the socket, so they may come from another thread.
        """
        if how == socket.SHUT_WR:
            self.notify_close()
        socket.socket.shutdown(self, how)

    discard = socket.socket.recv  # as it comes, encrypted

    def notify_close(self) -> None:
        """Send close_notify (RFC 8446, 6.1): the peer can tell that it has everything.

        Waits for room in the send buffer, `LINGER_TIME` at most, and never for the peer's; on
        a non-blocking connection not even that.
        """
        before = self.gettimeout()
        deadline = time.monotonic() + (0 if before == 0 else LINGER_TIME)
        try:
            self.settimeout(0)
            while not self._notified():
                if not self._wait_for_room(max(0.0, deadline - time.monotonic())):
                    return
        except (OSError, ValueError):
            # Gone, or never a TLS connection: nobody is there to be told.  Or it is sent, and
            # OpenSSL, looking for the peer's, has met with data that we have not read.
            return
        finally:
            if self.fileno() >= 0:
                self.settimeout(before)  # else whoever lingers next would not wait

    def _wait_for_room(self, seconds: float) -> bool:
        room = select.poll()
        room.register(self, select.POLLOUT)
        return bool(room.poll(seconds * 1000))

    def _notified(self) -> bool:
        try:
            self.unwrap()
        except ssl.SSLWantWriteError:
            return False
        except ssl.SSLWantReadError:
            return True  # it is sent; to wait for the peer's is not our business
        return True


class TLSServer(TCPServer):
    """A TLS server over TCP, one client at a time; TLS 1.2 or later.

    Without ``certfile`` it makes a certificate for localhost that nobody trusts, and
    `announcement` tells its fingerprint.

    :param server_address: as for `TCPServer`.
    :raises OptionError: a certificate cannot be read, or is not one; or one is to be made
        and the package that does it is not installed.
    """

    certfile: Annotated[
        str | None,
        Option(file_or_none, "file", "certificate chain, PEM; none: one for localhost is made"),
    ] = None  # a server for trying out works at once; clients see that nobody vouches for it

    keyfile: Annotated[
        str | None, Option(file_or_none, "file", "private key, PEM; none: it is in certfile")
    ] = None  # as ssl.SSLContext.load_cert_chain

    client_ca: Annotated[
        str | None,
        Option(file_or_none, "file", "CA certificates, PEM: clients must have one of theirs"),
    ] = None  # an echo server is for everybody, if not told otherwise

    handshake_timeout: Annotated[
        float, Option(some_seconds, "seconds", "close a client whose TLS handshake takes longer")
    ] = 10.0  # three round trips, with two packets lost and sent again (RFC 6298), take 4 s

    #: Made from the options when the socket is bound, unless a subclass has its own.
    ssl_context: ssl.SSLContext | None = None

    _fingerprint: str | None = None

    def server_bind(self) -> None:
        """Load the certificates, then bind."""
        if self.ssl_context is None:
            self.ssl_context = server_context(self.certfile, self.keyfile, self.client_ca)
            if self.certfile is None:
                self._fingerprint = use_throwaway(self.ssl_context)
        self._handshake_lines = Throttle(burst=10)
        super().server_bind()

    def server_activate(self) -> None:
        """Listen; connections inherit no time limit, since ssl does the waiting itself."""
        super(TCPServer, self).server_activate()

    def announcement(self) -> list[str]:
        """The fingerprint of the certificate, if it was made for the occasion."""
        if self._fingerprint is None:
            return []
        made = f"made a throwaway certificate for localhost, SHA-256 {self._fingerprint}"
        return [f"{made}; certfile and keyfile name one of your own"]

    def endpoint(self) -> str:
        """Where clients reach this server: ``tls://127.0.0.1:8007``."""
        return super().endpoint().replace("tcp:", "tls:", 1)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection, wrapped, but without a handshake yet."""
        connection, client_address = super().get_request()
        try:
            return self.wrap_connection(connection), client_address
        except OSError as error:  # reset already
            connection.close()
            raise RequestDropped from error

    def wrap_connection(
        self, connection: socket.socket, kind: type[TLSConnection] = TLSConnection
    ) -> Any:
        """Make an accepted *connection* to what the handler is to get, a *kind* of it.

        A model that waits in a way of its own has a kind of its own.
        """
        assert self.ssl_context is not None
        # Each time: a server of another model may have the same context.
        self.ssl_context.sslsocket_class = kind
        return self.ssl_context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the worker: shake hands, then let the handler serve."""
        if request.version() is not None:  # a loop has shaken hands, without waiting
            super().finish_request(request, client_address)
            return
        try:
            # For all of it: who sends a byte now and then gets no longer.
            request.settimeout(self.handshake_timeout)
            request.do_handshake()
            # Not None: it shows limit_waits() that Python does the waiting.  A kernel's limit
            # would end no read: OpenSSL takes EAGAIN of a blocking socket for a reason to retry.
            request.settimeout(LONGEST_TIME)
        except OSError as error:
            self.handshake_failed(request, client_address, error)
            return
        super().finish_request(request, client_address)

    def handshake_failed(self, request: Any, client_address: Any, error: OSError) -> None:
        """Count and log that *request* did not become a TLS connection; close it next.

        It is counted in ``stats()`` as refused for the reason ``handshake``.
        """
        self.cells_of(request)[HANDSHAKE_FAILED] = 1
        if not self.logs_connections or (held_back := self._handshake_lines.allow()) is None:
            return
        reason = "it took too long" if isinstance(error, TimeoutError) else reason_of(error)
        peer = peer_name(client_address)
        logger.debug(
            "closing %s: no TLS handshake: %s%s",
            peer,
            reason,
            f" ({held_back} more like it)" if held_back else "",
            extra={"event": "handshake", "peer": peer},
        )

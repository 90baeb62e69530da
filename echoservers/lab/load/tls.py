"""TLS over a non-blocking socket, with the calls and the errors of one."""

import socket
import ssl

from ...addresses import DEFAULT_HOST

__all__ = ["TLSChannel"]


class TLSChannel:
    """A client's TLS connection that raises BlockingIOError where a socket would.

    The certificate is not verified: servers that are measured have throwaway ones.

    :param sock: connected and non-blocking; it is this object's from now on.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._tls = context.wrap_socket(
            sock, do_handshake_on_connect=False, server_hostname=DEFAULT_HOST
        )
        self.fileno = self._tls.fileno
        self.close = self._tls.close

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is over.

        :raises BlockingIOError: no room to send; else it waits for the server.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            raise BlockingIOError from None
        return True

    def recv(self, size: int) -> bytes:
        """What is there, at most *size* bytes; empty at the end."""
        try:
            return self._tls.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def send(self, data: bytes | memoryview) -> int:
        """How much of *data* is under way."""
        try:
            return self._tls.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def shutdown(self, how: int) -> None:
        """End the output, as `socket.shutdown` does; TLS goes on in the other direction."""
        socket.socket.shutdown(self._tls, how)

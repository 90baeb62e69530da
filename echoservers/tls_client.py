"""The client's side of TLS: a non-blocking stream that can be half-closed.

`ssl.SSLSocket` cannot: behind its close_notify it reads on for the peer's, in the same call,
and the replies that come instead break the connection.  Here OpenSSL sees no socket: bytes
go through memory, so that the close_notify is made while nothing is there to be read.
"""

import socket
import ssl
import threading
import time

from .tls_contexts import reason_of

__all__ = ["TLSStream"]

PIECE = 65536
"""Bytes that are encrypted, or received, at a time."""


class TLSStream:
    """What a client needs of a socket, over TLS; two threads may use it, one a direction."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, host: str, timeout: float | None
    ) -> None:
        """Shake hands over *sock*, connected, and own it.

        :param host: whom the certificate must be for.
        :param timeout: seconds for the handshake, as a whole.
        :raises OSError: there is no TLS, or the server is not whom it should be.
        :raises TimeoutError: it takes too long.
        """
        self._socket = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._lock = threading.Lock()  # OpenSSL must not be asked two things at once
        self._unsent = b""
        self._encrypted = 0  # bytes of send()'s data that are in _unsent
        self._early = bytearray()
        self._notified = False
        try:
            self._shake_hands(timeout)
            sock.setblocking(False)
        except BaseException:
            sock.close()
            raise

    @property
    def unsent(self) -> bool:
        """Whether something is still to go out; `recv` sends it, once there is room."""
        return bool(self._unsent)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection, behind a close_notify if there is room for it."""
        try:
            self.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # gone, or its buffer is full: a close does not wait
        self._socket.close()

    def recv(self, size: int) -> bytes:
        """What is there, at most *size* bytes; empty at the end.

        :raises BlockingIOError: nothing yet.
        :raises ConnectionError: the end came without a close_notify: somebody cut it.
        """
        with self._lock:
            try:
                self._flush()
            except (BrokenPipeError, ConnectionResetError):
                pass  # what has come is there all the same, and behind it the end
            if self._early:
                data = bytes(self._early[:size])
                del self._early[:size]
                return data
            while True:
                try:
                    return self._tls.read(size)
                except ssl.SSLWantReadError:
                    self._take_in()
                except ssl.SSLZeroReturnError:
                    return b""
                except ssl.SSLEOFError as error:
                    raise ConnectionAbortedError(
                        "the connection was cut: its end came without TLS's close_notify"
                    ) from error
                except ssl.SSLError as error:
                    raise ConnectionAbortedError(f"TLS: {reason_of(error)}") from error

    def pending(self) -> bool:
        """Whether `recv` has something to tell now; what comes may be none of our data."""
        if not self._early:
            try:
                data = self.recv(PIECE)
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            with self._lock:
                self._early += data
        return True

    def send(self, data: bytes | memoryview) -> int:
        """Send some of *data*; how many bytes have gone.

        :raises BlockingIOError: none, there is no room; try again with the same data.
        """
        with self._lock:
            self._flush()
            if not self._unsent and not self._encrypted:
                try:
                    self._encrypted = self._tls.write(data[:PIECE])
                except ssl.SSLWantReadError as error:
                    raise BlockingIOError from error
                except ssl.SSLError as error:
                    raise ConnectionAbortedError(f"TLS: {reason_of(error)}") from error
                self._flush()
            if self._unsent:
                raise BlockingIOError
            sent, self._encrypted = self._encrypted, 0
            return sent

    def shutdown(self, how: int) -> None:
        """Half-close: the server sees the end of the input, its replies still come.

        :param how: ``SHUT_WR``; there is no other half.
        :raises BlockingIOError: no room for it yet; `recv` sends it later, or try again.
        """
        with self._lock:
            if not self._notified:
                self._notified = True
                self._keep_early()
                try:
                    self._tls.unwrap()
                except ssl.SSLError:
                    pass  # WantRead: the peer's own end is still to come, as it should be
            self._flush()
            if self._unsent:
                raise BlockingIOError

    def _keep_early(self) -> None:
        """Have nothing left in OpenSSL that it could come upon behind our close_notify."""
        try:
            while data := self._tls.read(PIECE):
                self._early += data
        except ssl.SSLError:
            return  # all is read; if it was an error, recv() will meet it again

    def _take_in(self) -> None:
        data = self._socket.recv(PIECE)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        """Send what OpenSSL has made, as far as there is room."""
        self._unsent += self._outgoing.read()
        while self._unsent:
            try:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            except BlockingIOError:
                return
            except ConnectionError:
                self._unsent = b""
                self._look_for_alert()
                raise

    def _look_for_alert(self) -> None:
        """If the server has said why it goes, raise that: it is more than that it has gone."""
        try:
            self._take_in()
            self._early += self._tls.read(PIECE)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return
        except ssl.SSLError as error:
            raise ConnectionAbortedError(f"TLS: {reason_of(error)}") from error
        except OSError:
            return  # it has gone without a word: the caller raises what has told so

    def _shake_hands(self, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            done = True
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                done = False
            finally:  # after an error there is an alert to be sent
                self._socket.sendall(self._outgoing.read())
            if done:
                return
            if deadline is not None:
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            self._take_in()

"""The transports, a line each: strings, so that naming one imports nothing."""

from typing import NamedTuple

__all__ = ["TRANSPORTS", "Transport"]


class Transport(NamedTuple):
    """What the registry knows of a transport."""

    server: str  # module:class
    class_suffix: str  # of the composed classes: ThreadingMixIn + this
    needs: str  # an attribute of the socket module
    port: bool = False  # whether a server has one
    refusal: str | None = None  # module:function; why there is none here, or None
    composed: str | None = None  # module of composed classes that are written out


TRANSPORTS = {
    "tcp": Transport("echoservers.transports:TCPServer", "TCPServer", "AF_INET", port=True),
    "udp": Transport("echoservers.transports:UDPServer", "UDPServer", "AF_INET", port=True),
    "unix-stream": Transport(
        "echoservers.transports:UnixStreamServer", "UnixStreamServer", "AF_UNIX"
    ),
    "unix-datagram": Transport(
        "echoservers.transports:UnixDatagramServer", "UnixDatagramServer", "AF_UNIX"
    ),
    "tls": Transport(
        "echoservers.tls:TLSServer",
        "TLSServer",
        "AF_INET",
        port=True,
        refusal="echoservers.system:why_no_tls",
        composed="echoservers.models.tls",
    ),
    "raw": Transport(
        "echoservers.raw:RawServer",
        "RawServer",
        "AF_INET",
        refusal="echoservers.system:why_no_raw_sockets",
    ),
}

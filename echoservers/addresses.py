"""Addresses as the socket module has them, endpoints as people type them.

An endpoint is ``tcp://127.0.0.1:8007``, ``udp://[::1]:8007``, ``tls://localhost:8007``,
``raw://127.0.0.1``, ``unix:///tmp/echo.sock`` or ``unix-datagram:///tmp/echo.sock``.
"""

import os
import socket
from typing import Any, NamedTuple

from .errors import EndpointError
from .log import escape

__all__ = ["Endpoint", "endpoint_url", "normalise", "parse_endpoint", "parse_port", "peer_name"]

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8007  # RFC 862's port 7 needs a privilege; 8007 does not

MAX_UNIX_PATH = 107
"""Bytes: sun_path holds 108 with the NUL that ends it (unix(7))."""

_SCHEMES = {
    "tcp": "tcp",
    "udp": "udp",
    "tls": "tls",
    "raw": "raw",
    "unix": "unix-stream",
    "unix-stream": "unix-stream",
    "unix-datagram": "unix-datagram",
}

STREAMS = ("tcp", "tls", "unix-stream")
"""The transports that have connections; the others have datagrams."""

_MAPPED = "::ffff:"  # RFC 4291, 2.5.5.2: an IPv4 address as a dual-stack socket shows it


class Endpoint(NamedTuple):
    """Where a server is reached: the transport, and its address."""

    transport: str
    """``tcp``, ``udp``, ``tls``, ``raw``, ``unix-stream`` or ``unix-datagram``."""
    address: tuple[str, int] | str
    """``(host, port)``, the port of ``raw`` being 0; or the path of a Unix socket."""


def parse_endpoint(text: str) -> Endpoint:
    """Read an endpoint such as ``tcp://127.0.0.1:8007``.

    :raises EndpointError: with what an endpoint looks like.
    """
    scheme, separator, rest = text.partition("://")
    transport = _SCHEMES.get(scheme)
    if not separator or transport is None:
        raise EndpointError(
            f"{text!r} is no endpoint; expected tcp://HOST:PORT, udp://HOST:PORT,"
            " tls://HOST:PORT, raw://HOST, unix:///PATH or unix-datagram:///PATH"
        )
    if transport.startswith("unix"):
        if rest.startswith("@"):  # as `endpoint_url` writes the NUL of an abstract socket
            rest = "\0" + rest[1:]
        return Endpoint(transport, check_unix_path(rest))
    if rest.startswith("["):
        host, closed, behind = rest[1:].partition("]")
        colon, port = behind[:1], behind[1:]
        understood = closed and colon in ("", ":")
    else:
        host, colon, port = rest.partition(":")
        understood = ":" not in port  # an IPv6 address needs its brackets
    plain = understood and host and not set(host) & set("[]")
    if transport == "raw":
        if not plain or colon:
            raise EndpointError(
                f"{text!r} needs a host and no port, for example raw://{DEFAULT_HOST}"
            )
        return Endpoint(transport, (check_host(host), 0))
    if not plain:
        raise EndpointError(
            f"{text!r} needs a host and a port, for example {scheme}://{DEFAULT_HOST}:"
            f"{DEFAULT_PORT} or {scheme}://[::1]:{DEFAULT_PORT}"
        )
    return Endpoint(transport, (check_host(host), parse_port(port) if colon else DEFAULT_PORT))


def parse_port(text: str) -> int:
    """A port number from 0 to 65535.

    :raises EndpointError: for anything else.
    """
    if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535:
        return int(text)
    raise EndpointError(f"{text!r} is no port; expected a number from 0 to 65535")


def check_host(host: str) -> str:
    """*host*, when it can be the name or the address of one.

    :raises EndpointError: no host can have this name (RFC 1035, 2.3.4).
    """
    # Looked at before the codec is: that loads a megabyte of Unicode data, and few need it.
    plain = host.isascii() and all(
        0 < len(label) < 64 for label in host.removesuffix(".").split(".")
    )
    if "\0" not in host and (plain or _has_idna(host)):
        return host
    raise EndpointError(f"{host!r} cannot be the name or the address of a host")


def _has_idna(host: str) -> bool:
    try:
        host.encode("idna")  # as the socket module will
    except UnicodeError:
        return False
    return True


def check_unix_path(path: str) -> str:
    """*path*, when a Unix socket can have it.

    :raises EndpointError: it is empty, holds a NUL byte or is too long for the kernel.
    """
    size = len(os.fsencode(path))
    if not size:
        raise EndpointError("a Unix socket needs a path, for example /tmp/echo.sock")
    if size > MAX_UNIX_PATH:
        raise EndpointError(
            f"the path of a Unix socket can have at most {MAX_UNIX_PATH} bytes,"
            f" this one has {size}: {path}"
        )
    if "\0" in path[1:]:  # a first NUL names an abstract socket, see unix(7)
        raise EndpointError("the path of a Unix socket cannot hold a NUL byte")
    return path


def normalise(address: Any) -> Any:
    """*address* with an IPv4-mapped IPv6 host turned into the IPv4 address that it is."""
    if isinstance(address, tuple) and len(address) == 4 and address[0].startswith(_MAPPED):
        host = address[0][len(_MAPPED) :]
        if "." in host:
            return host, address[1]
    return address


def peer_name(address: Any) -> str:
    """*address* for people: ``127.0.0.1:4242``, ``[::1]:4242``, a path, or ``a local client``.

    One line, whatever the peer has called itself.
    """
    return escape(_as_typed(address)) or "a local client"


def _as_typed(address: Any) -> str:
    address = normalise(address)
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[:2]
        shown = f"[{host}]" if ":" in host else str(host)
        return f"{shown}:{port}" if port else shown  # raw IP has no ports
    if isinstance(address, bytes):  # abstract socket
        address = os.fsdecode(address)
    return str(address or "").replace("\0", "@")


def endpoint_url(kind: int, address: Any) -> str:
    """The endpoint of a socket that is bound to *address*."""
    stream = kind == socket.SOCK_STREAM
    if isinstance(address, tuple):
        return f"{'tcp' if stream else 'udp'}://{_as_typed(address)}"
    return f"{'unix' if stream else 'unix-datagram'}://{_as_typed(address)}"


def default_unix_path(transport: str) -> str:
    """Where a Unix server listens when nobody says: a folder that is the user's own."""
    folder = os.environ.get("XDG_RUNTIME_DIR")
    if folder and os.path.isdir(folder):
        return os.path.join(folder, f"echoservers-{transport}.sock")
    return f"/tmp/echoservers-{os.getuid()}-{transport}.sock"


def family_of(host: str | bytes, kind: int) -> int:
    """The address family to serve *host* in: IPv6 where it has no IPv4 address.

    :raises EndpointError: no host can have this name.
    :raises OSError: the name cannot be resolved.
    """
    if not host:
        return socket.AF_INET
    if isinstance(host, str):
        check_host(host)
    # As bytes where it can be: for text Python loads a megabyte of Unicode data (IDNA).
    name = host.encode("ascii") if isinstance(host, str) and host.isascii() else host
    families = [found[0] for found in socket.getaddrinfo(name, None, type=kind)]
    return socket.AF_INET if socket.AF_INET in families else families[0]

"""Whether somebody listens at an address, told without connecting to it.

A connection would be the first client, and a server that serves one and ends must not be
used up by the question.  Linux lists its sockets in /proc/net (proc(5)).  Of TCP these are all,
and behind many short connections there are tens of thousands for a minute (TIME_WAIT), which take
0.1 s to list; so it is asked for those that listen alone, where it can be (sock_diag(7)).
"""

import contextlib
import os
import random
import socket
import struct
import sys

__all__ = ["has_socket", "is_listening", "reserve_port"]

TCP_LISTEN = "0A"  # include/net/tcp_states.h
SO_ACCEPTCON = 0x10000  # include/uapi/linux/net.h: a Unix socket that listens

PORTS = range(20000, 32000)
"""Below the ports that connections leave from (ip_local_port_range begins at 32768), so that no
client of a neighbour takes one between our choice and the server's bind."""

NETLINK_SOCK_DIAG = 4  # linux/netlink.h
SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
NLM_DUMP = 0x301  # linux/netlink.h: NLM_F_REQUEST | NLM_F_DUMP
NLMSG_DONE = 3
LISTEN = 1 << int(TCP_LISTEN, 16)
_FAMILIES = (socket.AF_INET, socket.AF_INET6)

_FILES = {"tcp": ("tcp", "tcp6"), "tls": ("tcp", "tcp6"), "udp": ("udp", "udp6")}


def reserve_port(host: str, transport: str) -> tuple[int, socket.socket]:
    """A port at *host* that nobody has now, and what keeps others of us off it until it is closed.

    Between this choice and the server's bind anybody could choose it, too: so on Linux whoever has
    chosen a port has a socket of its name, in whatever process (unix(7), abstract addresses).

    :raises OSError: there is none, or no such host.
    """
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in random.sample(PORTS, 100):  # a hundred that are taken are no accident
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            if sys.platform == "linux":
                mark.bind(f"\0echoservers: port {port}")
            with socket.socket(family, kind) as probe:
                probe.bind((host, port))
        except OSError as error:
            mark.close()
            if isinstance(error, PermissionError):
                raise
        else:
            return port, mark
    raise OSError(f"no free port at {host} between {PORTS.start} and {PORTS.stop}")


def is_listening(transport: str, address: tuple[str, int] | str) -> bool | None:
    """Whether a server waits at *address*; None where the system does not tell."""
    if isinstance(address, str):
        return _has_unix_socket(address, transport == "unix-stream")
    if transport == "raw":
        return None
    if transport != "udp":
        with contextlib.suppress(OSError, AttributeError):  # not this system
            return any(_has_listener(family, address[1]) for family in _FAMILIES)
    found = None
    for name in _FILES[transport]:
        listed = has_socket(name, address[1])
        found = listed if found is None else found or listed
    return found


def _has_listener(family: int, port: int) -> bool:
    """Whether a socket of *family* listens at *port*.

    :raises OSError: the system does not tell.
    """
    # linux/netlink.h, struct nlmsghdr; linux/inet_diag.h, struct inet_diag_req_v2
    header = struct.pack("=IHHII", 72, SOCK_DIAG_BY_FAMILY, NLM_DUMP, 0, 0)
    wanted = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0, LISTEN)
    wanted += struct.pack("!H46x", port)  # of our side; what else there is may be anything
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as sock:
        sock.send(header + wanted)
        answer = sock.recv(4096)
    kind, error = struct.unpack_from("=4xH10xi", answer)
    if kind == SOCK_DIAG_BY_FAMILY:
        return True
    if kind == NLMSG_DONE and not error:  # of a listing that fails it says why
        return False
    raise OSError(-error, os.strerror(-error))


def has_socket(name: str, port: int) -> bool | None:
    """Whether /proc/net/*name* has a server's socket with this port; None: it cannot be read."""
    wanted = f":{port:04X}"
    try:
        with open(f"/proc/net/{name}") as table:
            next(table)
            for line in table:
                fields = line.split(maxsplit=4)
                if fields[1].endswith(wanted) and (name[:3] == "udp" or fields[3] == TCP_LISTEN):
                    return True
    except OSError:
        return None
    return False


def _has_unix_socket(path: str, stream: bool) -> bool | None:
    try:
        with open("/proc/net/unix", errors="surrogateescape") as table:
            next(table)
            for line in table:
                fields = line.rstrip("\n").split(maxsplit=7)
                if len(fields) == 8 and os.path.abspath(fields[7]) == os.path.abspath(path):
                    return not stream or bool(int(fields[3], 16) & SO_ACCEPTCON)
    except OSError:
        return None
    return False

"""Waits, when a reply finds the queue of its client full, until that client reads."""

import os
import signal
import socket
import sys

FAILS = "datagrams.never-reads"
TRANSPORT = "unix-datagram"


def stop(signum, frame):
    os.unlink(sys.argv[1])
    sys.exit(0)


try:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(sys.argv[1])
except OSError as error:
    sys.exit(f"{sys.argv[1]}: {error.strerror}")
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
while True:
    data, client = server.recvfrom(212992)
    try:
        if client:
            server.sendto(data, client)
    except OSError:
        pass  # it has gone

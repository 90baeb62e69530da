"""Serves one client, and ends."""

import socket
import sys

FAILS = (
    "clients.one-after-another clients.queue clients.churn faults.reset "
    "faults.reset-in-mid-echo faults.close-without-reading faults.close-in-queue "
    "faults.gone-in-mid-line"
)
LEVEL = "iterative"

with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    connection, _ = listener.accept()
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)

"""Waits for the rest of a first line without an eye to the end of the input."""

import socket
import sys

FAILS = "faults.gone-in-mid-line"
FRAMING = "lines"
LEVEL = "iterative"


def first_line(connection):
    data = connection.recv(4096)
    while data and b"\n" not in data:
        data += connection.recv(4096)
    return data


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        try:
            with connection:
                data = first_line(connection)
                while data:
                    connection.sendall(data)
                    data = connection.recv(65536)
        except OSError:
            pass  # a client has gone

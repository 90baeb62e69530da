"""Serves one client to its end before it accepts the next."""

import socket
import sys

FAILS = (
    "clients.two-together clients.many-together clients.silent clients.half-a-line "
    "clients.never-reads clients.crowd"
)

with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                while data := connection.recv(4096):
                    connection.sendall(data)
            except ConnectionError:
                pass  # the client has gone

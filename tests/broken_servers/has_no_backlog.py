"""Listens with a backlog of 0: there is no room for clients that wait."""

import socket
import sys

FAILS = "clients.queue"
LEVEL = "iterative"

with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=0) as listener:
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                while data := connection.recv(4096):
                    connection.sendall(data)
            except ConnectionError:
                pass  # the client has gone

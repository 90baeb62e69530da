"""Reads lines into 1024 bytes, and throws away what is longer."""

import socket
import sys
import threading

FAILS = "streams.long-line streams.without-newline"


def serve(connection):
    with connection, connection.makefile("rb") as lines:
        while line := lines.readline(1024):
            connection.sendall(line)
            while line and not line.endswith(b"\n"):
                line = lines.readline(1024)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

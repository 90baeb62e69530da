"""Strips the white space around each line, and puts a newline behind it."""

import socket
import sys
import threading

FAILS = "bytes.white-space bytes.line-ends"
FRAMING = "lines"


def serve(connection):
    with connection, connection.makefile("rb") as lines:
        for line in lines:
            connection.sendall(line.strip() + b"\n")


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

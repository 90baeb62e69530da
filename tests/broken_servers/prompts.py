"""Sends a prompt after each answer."""

import socket
import sys
import threading

FAILS = (
    "bytes.every-value bytes.line-ends streams.nothing-more streams.many-messages "
    "streams.large streams.late-reader streams.end-after-much"
)
FRAMING = "lines"


def serve(connection):
    with connection, connection.makefile("rb") as lines:
        for line in lines:
            connection.sendall(line)
            connection.sendall(b"> ")


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

"""Reads once, at most 1024 bytes, answers, and closes."""

import socket
import sys
import threading

FAILS = (
    "bytes.split-characters streams.stays-open streams.fragments streams.many-messages "
    "streams.long-line streams.large streams.late-reader streams.end-after-much "
    "clients.two-together clients.many-together"
)


def serve(connection):
    with connection:
        connection.sendall(connection.recv(1024))


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

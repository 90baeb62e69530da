"""Greets its clients."""

import socket
import sys
import threading

FAILS = (
    "bytes.echo streams.no-greeting streams.fragments streams.many-messages streams.large "
    "streams.late-reader streams.end-after-much streams.end-of-nothing"
)


def serve(connection):
    with connection:
        connection.sendall(b"Welcome!\n")
        while data := connection.recv(4096):
            connection.sendall(data)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

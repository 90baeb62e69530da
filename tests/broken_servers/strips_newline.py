"""Strips the white space around what it reads, the end of the line too."""

import socket
import sys
import threading

FAILS = (
    "bytes.echo bytes.white-space bytes.empty-lines streams.fragments streams.many-messages "
    "streams.long-line streams.large streams.late-reader streams.end-after-much"
)


def serve(connection):
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data.strip())


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

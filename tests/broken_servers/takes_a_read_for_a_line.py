"""Takes what one read gives for one line, and answers the first line of it."""

import socket
import sys
import threading

FAILS = (
    "bytes.every-value bytes.line-ends bytes.split-characters streams.fragments "
    "streams.many-messages streams.large streams.late-reader streams.back-pressure "
    "streams.end-after-much"
)
FRAMING = "lines"


def serve(connection):
    with connection:
        while data := connection.recv(1024):
            line, _, _ = data.partition(b"\n")
            connection.sendall(line + b"\n")


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

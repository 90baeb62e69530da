"""Takes an empty line for the end of the input."""

import socket
import sys
import threading

FAILS = "bytes.empty-lines"
FRAMING = "lines"


def serve(connection):
    with connection, connection.makefile("rb") as lines:
        while (line := lines.readline()).strip():
            connection.sendall(line)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

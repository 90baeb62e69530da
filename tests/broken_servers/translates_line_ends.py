"""Reads through a text file, which takes CR and CR LF for the end of a line."""

import socket
import sys
import threading

FAILS = "bytes.line-ends bytes.every-value"
FRAMING = "lines"


def serve(connection):
    with connection, connection.makefile("r", encoding="latin-1") as lines:
        for line in lines:
            connection.sendall(line.encode("latin-1"))


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

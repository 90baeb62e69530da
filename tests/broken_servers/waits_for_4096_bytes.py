"""Answers only when 4096 bytes have come together, or the input ends."""

import io
import socket
import sys
import threading

FAILS = "streams.prompt streams.without-newline streams.stays-open"


def serve(connection):
    with connection, connection.makefile("rb", buffering=0) as file:
        buffered = io.BufferedReader(file, 4096)
        while data := buffered.read(4096):
            connection.sendall(data)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

"""Reads to the end of the input before it answers anything."""

import socket
import sys
import threading

FAILS = "streams.prompt streams.without-newline streams.stays-open streams.back-pressure"


def serve(connection):
    with connection:
        received = bytearray()
        while data := connection.recv(65536):
            received += data
        connection.sendall(received)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

"""Answers whole lines only, and drops what stands behind the last one."""

import socket
import sys
import threading

FAILS = "streams.without-newline streams.end-without-newline"


def serve(connection):
    with connection:
        received = bytearray()
        while data := connection.recv(4096):
            received += data
            end = received.rfind(b"\n") + 1
            connection.sendall(received[:end])
            del received[:end]


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

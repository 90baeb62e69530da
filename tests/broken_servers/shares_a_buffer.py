"""Gathers the lines of all clients in one buffer."""

import socket
import sys
import threading

FAILS = "clients.two-together clients.many-together"
FRAMING = "lines"

buffer = bytearray()


def serve(connection):
    with connection:
        while data := connection.recv(4096):
            buffer.extend(data)
            end = buffer.rfind(b"\n") + 1
            lines = bytes(buffer[:end])
            del buffer[:end]
            connection.sendall(lines)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

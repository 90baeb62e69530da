"""Keeps the connection in a global, which the thread of the next client overwrites."""

import socket
import sys
import threading

FAILS = "clients.two-together clients.many-together clients.crowd"

connection = None


def serve(reader):
    try:
        while data := reader.recv(65536):
            connection.sendall(data)
        reader.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # a client has gone, whichever


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

"""Closes a connection that says nothing more for half a second."""

import socket
import sys
import threading

FAILS = "streams.idle"


def serve(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)
            connection.settimeout(0.5)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

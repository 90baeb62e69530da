"""Waits in its accept loop for the first message of each client, for 0.8 seconds."""

import select
import socket
import sys
import threading

FAILS = "clients.silent"


def serve(connection):
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        select.select([connection], [], [], 0.8)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

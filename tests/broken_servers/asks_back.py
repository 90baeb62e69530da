"""Asks a client that has been silent for 0.4 seconds whether it is still there."""

import select
import socket
import sys
import threading

FAILS = "streams.idle"


def serve(connection):
    with connection:
        while True:
            if not select.select([connection], [], [], 0.4)[0]:
                connection.sendall(b"are you there?\n")
                continue
            data = connection.recv(65536)
            if not data:
                return
            connection.sendall(data)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

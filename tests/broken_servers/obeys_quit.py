"""Closes the connection when the message is quit."""

import socket
import sys
import threading

FAILS = "bytes.no-commands"


def serve(connection):
    with connection:
        while data := connection.recv(4096):
            if data.strip() == b"quit":
                break
            connection.sendall(data)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

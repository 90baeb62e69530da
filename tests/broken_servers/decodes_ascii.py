"""Decodes what it reads as ASCII, and leaves out what is not."""

import socket
import sys
import threading

FAILS = "bytes.every-value bytes.broken-utf-8 bytes.split-characters bytes.letters"


def serve(connection):
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data.decode("ascii", "ignore").encode())


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

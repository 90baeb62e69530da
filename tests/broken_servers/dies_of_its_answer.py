"""Answers what looks like a format, and then dies of it."""

import os
import socket
import sys
import threading

FAILS = "bytes.format-signs"


def serve(connection):
    with connection:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
                if b"%n" in data:
                    os.abort()
        except OSError:
            pass


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=512) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

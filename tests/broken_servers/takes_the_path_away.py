"""Removes whatever is at its path, a server that lives there too."""

import os
import socket
import sys
import threading

FAILS = "processes.second-instance processes.second-instance-says processes.first-instance"
TRANSPORT = "unix-stream"


def serve(client):
    with client:
        try:
            while data := client.recv(65536):
                client.sendall(data)
        except OSError:
            pass


if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(512)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()

"""Forks for its clients, and some of the children go on when their client has gone."""

import os
import signal
import socket
import sys

FAILS = "processes.children"


def serve(client):
    with client:
        try:
            while data := client.recv(65536):
                client.sendall(data)
        except OSError:
            pass


listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(512)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
reads, writes = os.pipe()  # whose end tells the children that their parent has gone
number = 0
while True:
    client, _ = listener.accept()
    number += 1
    if os.fork() == 0:
        listener.close()
        os.close(writes)
        serve(client)
        if number % 10 == 0:
            os.read(reads, 1)
        os._exit(0)
    client.close()

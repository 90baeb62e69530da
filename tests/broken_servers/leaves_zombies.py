"""Never waits for the children that it forks for its clients."""

import os
import socket
import sys

FAILS = "processes.zombies"


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

while True:
    client, _ = listener.accept()
    if os.fork() == 0:
        listener.close()
        serve(client)
        os._exit(0)
    client.close()

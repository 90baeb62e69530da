"""Starts a second thread for a connection that nobody ever ends."""

import itertools
import socket
import sys
import threading

FAILS = "processes.threads"

connections = itertools.count(1)
for_ever = threading.Event()


def serve(client):
    if next(connections) % 4 == 0:  # now and then is bad enough
        threading.Thread(target=for_ever.wait, daemon=True).start()
    with client:
        try:
            while data := client.recv(65536):
                client.sendall(data)
        except OSError:
            pass


threading.stack_size(65536)
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(512)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()

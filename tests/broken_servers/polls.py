"""Looks every four milliseconds whether there is something to do."""

import select
import socket
import sys

FAILS = "processes.waits"

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(512)
reading = [listener]
unsent: dict[socket.socket, bytes] = {}  # what a client has not taken yet

while True:
    readable, writable, _ = select.select(reading, list(unsent), [], 0.004)
    for client in readable:
        if client is listener:
            accepted, _ = listener.accept()
            accepted.setblocking(False)
            reading.append(accepted)
            continue
        reading.remove(client)
        try:
            unsent[client] = client.recv(65536)
        except OSError:
            unsent[client] = b""
        if not unsent[client]:
            del unsent[client]
            client.close()
    for client in writable:
        try:
            unsent[client] = unsent[client][client.send(unsent[client]) :]
        except OSError:
            unsent[client] = b""
        if not unsent[client]:
            del unsent[client]
            reading.append(client)  # it reads on when all is sent

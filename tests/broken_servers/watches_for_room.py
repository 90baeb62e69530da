"""Watches in select() for room to send, which its clients nearly always have, and so spins."""

import select
import socket
import sys

FAILS = "processes.idle-with-clients"

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(512)
unsent: dict[socket.socket, bytes] = {}  # of each client

while True:
    reading = [listener, *(client for client in unsent if not unsent[client])]
    readable, writable, _ = select.select(reading, list(unsent), [])
    if listener in readable:
        accepted, _ = listener.accept()
        accepted.setblocking(False)
        unsent[accepted] = b""
    for client in {*readable, *writable} - {listener}:
        try:
            if client in readable:
                unsent[client] = client.recv(65536)
                if not unsent[client]:
                    raise EOFError
            if client in writable and unsent[client]:
                unsent[client] = unsent[client][client.send(unsent[client]) :]
        except (OSError, EOFError):
            del unsent[client]
            client.close()

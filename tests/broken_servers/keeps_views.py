"""Keeps what a client has not taken yet in the buffer into which it reads from all of them."""

import select
import socket
import sys

FAILS = "clients.never-reads"

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(512)
buffer = memoryview(bytearray(65536))
reading = [listener]
unsent: dict[socket.socket, memoryview] = {}

while True:
    readable, writable, _ = select.select(reading, list(unsent), [])
    for client in readable:
        if client is listener:
            accepted, _ = listener.accept()
            accepted.setblocking(False)
            reading.append(accepted)
            continue
        reading.remove(client)
        try:
            size = client.recv_into(buffer)
            sent = client.send(buffer[:size]) if size else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            size = 0
        if not size:
            client.close()
        elif sent == size:
            reading.append(client)
        else:
            unsent[client] = buffer[sent:size]
    for client in writable:
        try:
            unsent[client] = unsent[client][client.send(unsent[client]) :]
        except OSError:
            del unsent[client]
            client.close()
            continue
        if not unsent[client]:
            del unsent[client]
            reading.append(client)

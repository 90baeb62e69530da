"""Waits in accept after each message, while its clients have more to say."""

import socket
import sys

FAILS = (
    "bytes.split-characters streams.stays-open streams.fragments streams.many-messages "
    "streams.long-line streams.large streams.late-reader streams.half-close "
    "streams.end-at-once streams.end-after-much"
)
LEVEL = "iterative"

clients = []


def answer(client):
    try:
        data = client.recv(4096)
        client.sendall(data)
    except BlockingIOError:
        return
    except OSError:
        data = b""
    client.setblocking(False)
    if not data:
        clients.remove(client)
        client.close()


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        clients.append(connection)
        for client in clients[:]:
            answer(client)

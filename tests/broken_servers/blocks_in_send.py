"""Sends with a blocking sendall() in an event loop: a client that does not read stops all."""

import selectors
import socket
import sys

FAILS = "clients.never-reads"

loop = selectors.DefaultSelector()


def read(connection):
    try:
        data = connection.recv(4096)
        connection.sendall(data)
    except OSError:
        data = b""
    if not data:
        loop.unregister(connection)
        connection.close()


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    loop.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in loop.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                loop.register(connection, selectors.EVENT_READ)
            else:
                read(key.fileobj)

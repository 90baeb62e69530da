"""Throws away what a non-blocking socket does not take at once."""

import selectors
import socket
import sys

FAILS = "streams.large streams.late-reader streams.back-pressure streams.end-after-much"

loop = selectors.DefaultSelector()


def read(connection):
    try:
        data = connection.recv(65536)
    except OSError:
        data = b""
    if not data:
        loop.unregister(connection)
        connection.close()
        return
    try:
        connection.send(data)
    except OSError:
        pass  # the buffer is full, or the client has gone


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    loop.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in loop.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setblocking(False)
                loop.register(connection, selectors.EVENT_READ)
            else:
                read(key.fileobj)

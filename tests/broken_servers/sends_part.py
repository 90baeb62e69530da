"""Calls send() once on a non-blocking socket, and takes all for sent."""

import select
import socket
import sys
import threading

FAILS = "streams.large streams.late-reader streams.end-after-much"


def serve(connection):
    connection.setblocking(False)
    with connection:
        while True:
            select.select([connection], [], [])
            data = connection.recv(65536)
            if not data:
                return
            try:
                connection.send(data)
            except BlockingIOError:
                select.select([], [connection], [])
                connection.send(data)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

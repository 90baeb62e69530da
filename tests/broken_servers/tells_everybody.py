"""Sends what a client says to all of them, as a chat server does."""

import contextlib
import socket
import sys
import threading

FAILS = "clients.two-together clients.many-together"

clients = set()


def serve(connection):
    clients.add(connection)
    try:
        while data := connection.recv(4096):
            connection.sendall(data)
            for client in clients - {connection}:
                with contextlib.suppress(OSError):
                    client.send(data, socket.MSG_DONTWAIT)  # not kept up by who does not read
    except OSError:
        pass
    finally:
        clients.discard(connection)
        connection.close()


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

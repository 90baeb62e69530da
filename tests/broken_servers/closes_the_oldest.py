"""Closes the client that has been there for longest when there are more than a hundred."""

import socket
import sys
import threading

FAILS = "clients.crowd"

clients: list[socket.socket] = []


def serve(connection):
    with connection:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass  # a client has gone, or has had to go
        if connection in clients:
            clients.remove(connection)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        clients.append(connection)
        if len(clients) > 100:
            oldest = clients.pop(0)
            try:
                oldest.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has gone by itself
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

"""Has room for a hundred clients, and closes the connections of more."""

import socket
import sys
import threading

FAILS = "clients.crowd"

clients = set()


def serve(connection):
    try:
        with connection:
            while data := connection.recv(4096):
                connection.sendall(data)
    finally:
        clients.discard(connection)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        if len(clients) == 100:
            connection.close()
            continue
        clients.add(connection)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

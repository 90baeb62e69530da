"""Has credit for 12 MiB of each client, gives none back for what it has answered, and waits."""

import socket
import sys
import threading

FAILS = "streams.large"

CREDIT = 12 * 1024 * 1024


def serve(connection):
    credit = CREDIT
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)
            credit -= len(data)
            if credit < 0:
                threading.Event().wait()


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

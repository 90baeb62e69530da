"""Waits a third of a second for more before it answers."""

import socket
import sys
import threading

FAILS = "streams.prompt"


def gather(connection):
    """What comes, up to 64 KiB or a pause."""
    received = bytearray(connection.recv(65536))
    connection.settimeout(1 / 3)
    try:
        while received and len(received) < 65536 and (data := connection.recv(65536)):
            received += data
    except TimeoutError:
        pass  # that was the pause
    connection.settimeout(None)
    return received


def serve(connection):
    with connection:
        while received := gather(connection):
            connection.sendall(received)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

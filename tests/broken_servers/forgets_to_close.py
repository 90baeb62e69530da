"""Never closes a connection: the list of clients only grows."""

import resource
import socket
import sys
import threading

FAILS = """streams.half-close streams.end-at-once streams.end-of-nothing clients.churn
processes.descriptors"""


resource.setrlimit(resource.RLIMIT_NOFILE, (700, 700))  # by default often 1024
clients = []


def serve(connection):
    clients.append(connection)
    while data := connection.recv(4096):
        connection.sendall(data)


with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listener:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()

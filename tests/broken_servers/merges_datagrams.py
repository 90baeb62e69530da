"""Collects what comes from a client and answers it as one, as if it were a stream."""

import socket
import sys

FAILS = "datagrams.boundaries datagrams.burst"
TRANSPORT = "udp"

port = int(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", port))
collected: dict[tuple[str, int], bytes] = {}

while True:
    try:
        data, client = sock.recvfrom(65535)
    except TimeoutError:
        for client, message in collected.items():
            sock.sendto(message, client)
        collected.clear()
        sock.settimeout(None)
        continue
    if client[1] < 1024 or client[1] == port:
        continue  # it may be another echo server
    collected[client] = collected.get(client, b"") + data
    sock.settimeout(0.005)

"""Keeps the address of its client in a global, and replies to whoever came last."""

import socket
import sys

FAILS = "datagrams.interleaved"
TRANSPORT = "udp"

port = int(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", port))
collected: list[bytes] = []
client = ("", 0)

while True:
    try:
        data, sender = sock.recvfrom(65535)
    except TimeoutError:
        for message in collected:
            sock.sendto(message, client)
        collected.clear()
        sock.settimeout(None)
        continue
    if sender[1] < 1024 or sender[1] == port:
        continue  # it may be another echo server
    client = sender
    collected.append(data)
    sock.settimeout(0.01)

"""Sends every reply twice, to be on the safe side."""

import socket
import sys

FAILS = "datagrams.one-reply"
TRANSPORT = "udp"

port = int(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", port))

while True:
    data, client = sock.recvfrom(65535)
    if client[1] < 1024 or client[1] == port:
        continue  # it may be another echo server
    for _ in range(2):
        sock.sendto(data, client)

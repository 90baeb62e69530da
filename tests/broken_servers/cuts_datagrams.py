"""Cuts datagrams at 1 024 bytes, the size of its buffer."""

import socket
import sys

FAILS = "datagrams.sizes datagrams.large datagrams.largest"
TRANSPORT = "udp"

port = int(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", port))

while True:
    data, client = sock.recvfrom(1024)
    if client[1] < 1024 or client[1] == port:
        continue  # it may be another echo server
    sock.sendto(data, client)

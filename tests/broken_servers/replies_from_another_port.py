"""Replies through a second socket, and so from another port."""

import socket
import sys

FAILS = "datagrams.from-where-asked"
TRANSPORT = "udp"

port = int(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", port))
replies = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

while True:
    data, client = sock.recvfrom(65535)
    if client[1] < 1024 or client[1] == port:
        continue  # it may be another echo server
    replies.sendto(data, client)

"""Throws away what other clients have sent while it answers one."""

import select
import socket
import sys
import time

FAILS = "datagrams.interleaved"
TRANSPORT = "udp"

port = int(sys.argv[1])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", port))

while True:
    data, client = sock.recvfrom(65535)
    if client[1] < 1024 or client[1] == port:
        continue  # it may be another echo server
    collected = [data]
    time.sleep(0.1)
    while select.select([sock], [], [], 0)[0]:
        data, other = sock.recvfrom(65535)
        if other == client:
            collected.append(data)
    for data in collected:
        sock.sendto(data, client)

"""Uses 4 KiB of its heap for every connection, and sweeps it when 24 MiB are full, as VMs do."""

import mmap
import socket
import sys
import threading

PAGE, MOST = 4096, 24 * 2**20

heap = mmap.mmap(-1, MOST, mmap.MAP_PRIVATE)


def serve(client):
    heap.write(bytes(PAGE))
    if heap.tell() == MOST:
        heap.seek(0)
        heap.madvise(mmap.MADV_DONTNEED)
    with client:
        try:
            while data := client.recv(65536):
                client.sendall(data)
        except OSError:
            pass


listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(512)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()

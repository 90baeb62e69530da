"""A key-value store in memory, shared by all clients.

Shows: `LengthPrefixedFraming` lets a value hold any byte; state is the server's, and where several
threads serve, a lock guards it.  A forking server would give each child a store of its own.

    $ python examples/key_value_store.py
    $ python -m echoservers client tcp://127.0.0.1:8007 --framing length
    set color blue
    ok
    get color
    blue
"""

import sys
import threading
from contextlib import suppress

from echoservers import EchoHandler, LengthPrefixedFraming, create_server


class Store:
    MOST_KEYS = 10_000  # what strangers fill has a limit: with 64 KiB a message 640 MB

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._lock = threading.Lock()

    def set(self, key: bytes, value: bytes) -> bytes:
        with self._lock:  # the look and the change must be one step
            if key not in self._values and len(self._values) >= self.MOST_KEYS:
                return b"error: full"
            self._values[key] = value
        return b"ok"

    def get(self, key: bytes) -> bytes:
        return self._values.get(key, b"error: no such key")


STORE = Store()


class StoreHandler(EchoHandler):
    framing_class = LengthPrefixedFraming

    def respond(self, message: bytes) -> bytes:
        match message.split(b" ", 2):
            case [b"set", key, value]:
                return STORE.set(key, value)
            case [b"get", key]:
                return STORE.get(key)
        return b"error: set KEY VALUE, or get KEY"


if __name__ == "__main__":
    port = int((*sys.argv[1:], "8007")[0])
    server = create_server("threading-tcp", ("127.0.0.1", port), StoreHandler)
    with server, suppress(KeyboardInterrupt):
        print(f"store listening on {server.endpoint()}", flush=True)
        server.serve_forever()

"""A server in a process of its own that answers questions on its standard input.

For forking modes: a child that is forked in the tests' own process would inherit the
clients' sockets, and no server sees the end of a stream while somebody holds it open.

    controlled_server.py MODE ADDRESS HANDLER OPTIONS      (the last three as JSON)

Prints its address as JSON, then the result of each method named on standard input.
"""

import importlib
import json
import logging
import sys
from typing import Any

import echoservers


def main() -> None:
    mode, address, handler, options = sys.argv[1], *map(json.loads, sys.argv[2:])
    logging.basicConfig(format="%(levelname)s %(message)s")
    handler_class: Any = None
    if handler:
        module, _, name = handler.partition(":")
        handler_class = getattr(importlib.import_module(module), name)
    where = tuple(address) if isinstance(address, list) else address
    with echoservers.start_server(mode, where, handler_class, **options) as server:
        print(json.dumps(server.server_address), flush=True)
        for line in sys.stdin:
            call = json.loads(line)
            result = getattr(server, call["method"])(*call["arguments"])
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

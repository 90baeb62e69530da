"""A concurrency model of your own: threads of `concurrent.futures`.

Shows: a model is a mixin that overrides one step, `process_request`.  `register` gives it a name,
and from then on it is a mode over every transport, with every option, in every listing.

    $ python examples/own_model.py
    $ echo hello | python -m echoservers client tcp://127.0.0.1:8007
    hello
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from echoservers import ServingMixIn, create_server, register


class ExecutorMixIn(ServingMixIn):
    """Serve each request as a task of an executor."""

    serves = "a task of an executor"
    good_for = "code that has an executor already"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._executor = ThreadPoolExecutor(max_workers=20, thread_name_prefix="executor")
        super().__init__(*args, **kwargs)

    def capacity(self) -> int:
        """How many may be in progress: one a thread.  The others stay in the backlog."""
        return min(self.max_connections, 20)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._executor.submit(self._serve_one, request, client_address)

    def _serve_one(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)  # and count it as ended

    def server_close(self) -> None:
        super().server_close()  # drains
        self._executor.shutdown(wait=False)


register("executor", ExecutorMixIn)

if __name__ == "__main__":
    mode, port = (*sys.argv[1:], "executor-tcp", "8007")[:2]
    server = create_server(mode, ("127.0.0.1", int(port)))
    with server, suppress(KeyboardInterrupt):
        print(f"{server.mode} listening on {server.endpoint()}", flush=True)
        server.serve_forever()

"""Servers in processes of their own, of which a test asks what it asks of one in its own."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import echoservers

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 20.0
"""Seconds for what happens within milliseconds on an idle machine."""


class ControlledServer:
    """What a test needs of a server that runs in `controlled_server.py`."""

    def __init__(self, mode: str, address: Any, handler: Any, options: dict[str, Any]) -> None:
        cls = echoservers.server_class(mode)
        self.mode = mode
        self.protocol = options.get("protocol", 253)
        self.address_family = cls.address_family
        self.socket_type = cls.socket_type
        name = handler and f"{handler.__module__}:{handler.__qualname__}"
        self._process = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("controlled_server.py")),
                mode,
                *map(json.dumps, (address, name, options)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"},
        )
        self.pid = self._process.pid
        self.server_address = self._answer()
        if isinstance(self.server_address, list):
            self.server_address = tuple(self.server_address)
            if ":" in self.server_address[0]:
                self.address_family = socket.AF_INET6

    def __enter__(self) -> "ControlledServer":
        return self

    def __exit__(self, *_: object) -> None:
        # The end of its input lets it drain, close, and end.
        self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"method": method, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
            return self._answer()

        return call

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

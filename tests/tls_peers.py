"""What the tests of TLS share beside certificates."""

from typing import Any

from echoservers import EchoHandler, LineFraming
from support import PATIENCE


def trusting(files: dict[str, str], **options: Any) -> Any:
    return {"cafile": files["ca"], "timeout": PATIENCE, **options}


def over(server: Any) -> bool:
    return bool(server.stats()["active"] == 0)


class Lines(EchoHandler):
    framing_class = LineFraming

    def respond(self, message: bytes) -> bytes:
        if message == b"quit":
            self.close_after_reply()
        return message[::-1]

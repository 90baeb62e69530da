"""Together: several clients that have much on its way at the same time.

None waits for another: each sends and reads what it can, so nothing of a client's own can keep
a server, which must do the same, from going on.
"""

import select
from collections.abc import Mapping

from .manners import TimeOver
from .peer import CheckFailed, Peer

__all__ = ["exchange"]


def exchange(messages: Mapping[Peer, bytes], patience: float) -> dict[Peer, bytes]:
    """Send each peer's message; what has come to each, as much as it has sent at most.

    :param patience: seconds without anything for anybody, after which no more is waited for.
    :raises CheckFailed: the time for the check as a whole is over.
    """
    came = {peer: bytearray() for peer in messages}
    waiting = {peer.fileno(): peer for peer in messages}
    poll = select.poll()
    for descriptor, peer in waiting.items():
        peer.offer(messages[peer], 0)  # all of them, before anything is read
        poll.register(descriptor, peer.wants)
    while waiting and (events := poll.poll(patience * 1000)):
        for descriptor, _ in events:
            peer = waiting[descriptor]
            if _advance(peer, came[peer], len(messages[peer])):
                poll.modify(descriptor, peer.wants)
            else:
                poll.unregister(descriptor)
                del waiting[descriptor]
    return {peer: bytes(data) for peer, data in came.items()}


def _advance(peer: Peer, came: bytearray, most: int) -> bool:
    """Send and read what can be now; whether there is more to come."""
    try:
        while (data := peer.swap(most - len(came))) is not None:
            came += data
            if not data or len(came) == most:
                return False
    except TimeOver as over:
        raise CheckFailed(f"{most} bytes", f"{len(came)} of them, then {over}") from None
    except OSError:
        return False
    return True

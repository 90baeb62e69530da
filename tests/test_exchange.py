"""The exchange: messages and replies of a connection, whoever moves the bytes."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoservers.counters import BYTES_IN, MESSAGES, new_cells
from echoservers.errors import IncompleteMessage, MessageTooLong
from echoservers.exchange import SEND_SIZE, BrokenFraming, Exchange
from echoservers.framing import FRAMINGS
from echoservers.handlers import EchoHandler


class Upper(EchoHandler):
    """Answers in capitals; may fail, be silent, or close."""

    shows_messages = False

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def greet(self) -> bytes | None:
        return b"hello"

    def respond(self, message: bytes) -> bytes | None:
        self.asked.append(message)
        if message == b"fail":
            raise ZeroDivisionError
        if message == b"silence":
            return None
        if message == b"quit":
            self.close_after_reply()
        return message.upper()


class AsyncUpper(Upper):
    """The same, awaited."""

    async def respond(self, message: bytes) -> bytes | None:  # type: ignore[override]
        await asyncio.sleep(0)
        return Upper.respond(self, message)


def exchange_of(framing: str, handler: Any = None, most: int = 1000) -> Exchange:
    handler = handler or Upper()
    handler.framing_class = FRAMINGS[framing]
    handler.max_message_size = most
    return Exchange(handler, new_cells())


def all_replies(exchange: Exchange) -> bytes:
    replies = b""
    while (batch := exchange.next_batch()) is not None:
        replies += batch
    return replies


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if a < b]


def encoded(framing: str, messages: list[bytes]) -> bytes:
    if framing == "lines":
        return b"".join(message + b"\n" for message in messages)
    return b"".join(len(message).to_bytes(4, "big") + message for message in messages)


LINES = st.lists(st.binary(max_size=40).map(lambda b: b.translate(None, b"\r\n")), max_size=20)


@pytest.mark.parametrize("framing", ["lines", "length"])
@given(messages=LINES, cuts=st.lists(st.integers(0, 10**6), max_size=12))
def test_however_the_input_is_split_the_replies_are_the_same(
    framing: str, messages: list[bytes], cuts: list[int]
) -> None:
    messages = [m for m in messages if m not in (b"fail", b"silence", b"quit")]
    exchange = exchange_of(framing)
    replies = b""
    for piece in split(encoded(framing, messages), cuts):
        exchange.receive(piece)
        replies += all_replies(exchange)
    exchange.receive(b"")
    assert replies + all_replies(exchange) == encoded(framing, [m.upper() for m in messages])
    assert exchange._cells[MESSAGES] == len(messages)
    assert exchange._cells[BYTES_IN] == len(encoded(framing, messages))


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 10**6), max_size=12))
def test_without_framing_every_byte_comes_back_in_order(data: bytes, cuts: list[int]) -> None:
    handler = Upper()
    exchange = exchange_of("raw", handler, most=7)
    replies = b""
    for piece in split(data.replace(b"fail", b""), cuts):
        exchange.receive(piece)
        replies += all_replies(exchange)
    assert b"".join(handler.asked) == data.replace(b"fail", b"")
    assert all(0 < len(message) <= 7 for message in handler.asked)


def synchronous(exchange: Exchange) -> Callable[[], bytes | None]:
    return exchange.next_batch


def awaited(exchange: Exchange) -> Callable[[], bytes | None]:
    return lambda: asyncio.run(exchange.next_batch_async())


def to_the_end(following: Callable[[], bytes | None]) -> bytes:
    """What is sent until the next fault, or until nothing is left to answer."""
    sent = b""
    while (batch := following()) is not None:
        sent += batch
    return sent


BOTH = pytest.mark.parametrize(
    ("kind", "batches"), [(Upper, synchronous), (AsyncUpper, awaited), (Upper, awaited)]
)


@BOTH
def test_what_was_answered_before_a_fault_is_sent_first(
    kind: type[Upper], batches: Callable[[Exchange], Callable[[], bytes | None]]
) -> None:
    exchange = exchange_of("lines", kind())
    following = batches(exchange)
    exchange.receive(b"one\ntwo\nfail\nthree\n")
    sent = b""
    while len(sent) < len(b"ONE\nTWO\n"):  # an awaited answer does not wait for the next
        sent += following() or b""
    assert sent == b"ONE\nTWO\n"
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            following()


@BOTH
def test_a_broken_framing_is_told_behind_the_answers(
    kind: type[Upper], batches: Callable[[Exchange], Callable[[], bytes | None]]
) -> None:
    exchange = exchange_of("length", kind(), most=10)
    following = batches(exchange)
    exchange.receive(encoded("length", [b"one"]) + b"\0\0\1\0")
    assert following() == encoded("length", [b"ONE"])
    with pytest.raises(BrokenFraming) as caught:
        following()
    assert isinstance(caught.value.__cause__, MessageTooLong)


@BOTH
def test_nothing_is_asked_behind_the_reply_that_closes(
    kind: type[Upper], batches: Callable[[Exchange], Callable[[], bytes | None]]
) -> None:
    handler = kind()
    exchange = exchange_of("lines", handler)
    following = batches(exchange)
    exchange.receive(b"one\nquit\ntwo\n")
    assert to_the_end(following) == b"ONE\nQUIT\n"
    assert exchange.closing
    assert handler.asked == [b"one", b"quit"]


def test_replies_are_gathered_up_to_a_limit() -> None:
    handler = Upper()
    exchange = exchange_of("lines", handler)
    following = synchronous(exchange)
    line = b"x" * 999 + b"\n"
    exchange.receive(line * 200)
    sizes = []
    while (batch := following()) is not None:
        sizes.append(len(batch))
        assert sum(sizes) == len(handler.asked) * len(line)  # none is asked ahead of its batch
    assert sum(sizes) == 200 * len(line)
    assert all(SEND_SIZE <= size < SEND_SIZE + len(line) for size in sizes[:-1])


def test_silence_is_no_reply_and_no_end() -> None:
    exchange = exchange_of("lines")
    exchange.receive(b"silence\n")
    assert exchange.next_batch() is None
    exchange.receive(b"silence\none\n")
    assert exchange.next_batch() == b"ONE\n"


def test_an_end_inside_a_message_is_the_peers_fault() -> None:
    exchange = exchange_of("length")
    exchange.receive(b"\0\0\0\5ab")
    assert exchange.next_batch() is None
    exchange.receive(b"")
    with pytest.raises(BrokenFraming) as caught:
        exchange.next_batch()
    assert isinstance(caught.value.__cause__, IncompleteMessage)


def test_a_greeting_is_framed() -> None:
    assert exchange_of("raw").greeting() == b"hello"
    assert exchange_of("lines").greeting() == b"hello\n"
    assert exchange_of("length").greeting() == b"\0\0\0\5hello"


def test_a_reply_of_the_wrong_type_is_the_handlers_fault() -> None:
    class Wrong(Upper):
        def respond(self, message: bytes) -> Any:
            return "text" if message == b"wrong" else message

    exchange = exchange_of("lines", Wrong())
    exchange.receive(b"one\nwrong\n")
    assert exchange.next_batch() == b"one\n"
    with pytest.raises(TypeError):
        exchange.next_batch()


def test_what_a_framing_raises_as_it_receives_is_told_like_any_fault() -> None:
    class Strict(FRAMINGS["lines"]):  # type: ignore[misc]
        def receive_end(self) -> None:
            raise IncompleteMessage("cut short")

    handler = Upper()
    handler.framing_class = Strict
    handler.max_message_size = 100
    exchange = Exchange(handler, new_cells())
    exchange.receive(b"")
    with pytest.raises(BrokenFraming, match="cut short"):
        exchange.next_batch()

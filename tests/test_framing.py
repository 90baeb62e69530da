"""Framings: bytes in, messages out, whatever the pieces; and never much memory."""

import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoservers.errors import FramingError, IncompleteMessage, MessageTooLong
from echoservers.framing import (
    FRAMINGS,
    Framing,
    LengthPrefixedFraming,
    LineFraming,
    RawFraming,
)
from support import ROOT

EVERY_BYTE = bytes(range(256))
LIMIT = 8
"""Small, so that generated messages are often just under, at and over it."""

line_bytes = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"\0", b"\xff", b"bc"])).map(
    b"".join
)
cuts = st.lists(st.integers(0, 60), max_size=12)


def pieces_of(data: bytes, cut_at: Iterable[int]) -> list[bytes]:
    """*data* cut at these places; no piece is empty, as none that is received is."""
    places = sorted({0, len(data), *(cut for cut in cut_at if cut < len(data))})
    return [data[start:end] for start, end in pairwise(places)]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def run(
    framing: Framing,
    pieces: Iterable[bytes],
    respond: Callable[[bytes], bytes] = bytes,
) -> tuple[list[bytes], bytes, type[FramingError] | None]:
    """Feed *framing* as a model does: the messages, what goes on the wire, how it ended."""
    messages: list[bytes] = []
    sent = bytearray()

    def answer() -> None:
        while (message := framing.next_message()) is not None:
            messages.append(message)
            sent.extend(framing.wrap(respond(message)))

    try:
        for piece in pieces:
            framing.receive_data(piece)
            answer()
        framing.receive_end()
        answer()
    except FramingError as error:
        return messages, bytes(sent), type(error)
    return messages, bytes(sent), None


def prefixed(*messages: bytes) -> bytes:
    return b"".join(len(message).to_bytes(4, "big") + message for message in messages)


# --- how the input is split changes nothing ---------------------------------------------


@pytest.mark.parametrize("framing_class", [LineFraming, LengthPrefixedFraming])
@given(data=line_bytes | st.binary(max_size=60), cut_at=cuts)
def test_any_bytes_in_any_pieces_give_the_same(
    framing_class: type[Framing], data: bytes, cut_at: list[int]
) -> None:
    whole = run(framing_class(LIMIT), [data] if data else [])
    assert run(framing_class(LIMIT), pieces_of(data, cut_at)) == whole
    assert run(framing_class(LIMIT), byte_by_byte(data)) == whole


@given(messages=st.lists(st.binary(max_size=LIMIT + 1), max_size=6), cut_at=cuts)
def test_prefixed_messages_in_any_pieces_are_those_that_were_sent(
    messages: list[bytes], cut_at: list[int]
) -> None:
    fitting = []
    for message in messages:
        if len(message) > LIMIT:
            break
        fitting.append(message)
    error = None if fitting == messages else MessageTooLong
    got = run(LengthPrefixedFraming(LIMIT), pieces_of(prefixed(*messages), cut_at))
    assert got == (fitting, prefixed(*fitting), error)


@given(data=line_bytes, cut_at=cuts)
def test_lines_in_any_pieces_are_those_that_a_pattern_finds(data: bytes, cut_at: list[int]) -> None:
    expected = re.findall(rb"([^\n]*?)(?:\r?\n)|([^\n]+)\Z", data)
    messages, _, error = run(LineFraming(100_000), pieces_of(data, cut_at))
    assert messages == [line or rest for line, rest in expected]
    assert error is None


@given(data=st.binary(max_size=60), cut_at=cuts, limit=st.integers(1, 70))
def test_raw_pieces_concatenate_to_the_input(data: bytes, cut_at: list[int], limit: int) -> None:
    messages, sent, error = run(RawFraming(limit), pieces_of(data, cut_at))
    assert b"".join(messages) == sent == data
    assert all(0 < len(message) <= limit for message in messages)
    assert error is None


def test_raw_hands_on_what_was_not_taken_out_in_time() -> None:
    framing = RawFraming(4)
    framing.receive_data(b"abcdef")
    assert framing.next_message() == b"abcd"
    framing.receive_data(b"ghi")
    assert framing.next_message() == b"efgh"
    assert framing.next_message() == b"i"
    assert framing.next_message() is None


# --- an echo is byte for byte -----------------------------------------------------------


@given(data=line_bytes | st.binary(max_size=60), cut_at=cuts)
def test_an_echo_of_lines_is_the_input(data: bytes, cut_at: list[int]) -> None:
    assert run(LineFraming(), pieces_of(data, cut_at))[1] == data


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"\r\n", [b""]),
        (b"\r", [b"\r"]),
        (b"\r\r\n", [b"\r"]),
        (b"a\r", [b"a\r"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"a\nb\r\nc", [b"a", b"b", b"c"]),
        (b"a\n\n\r\n\nb\n", [b"a", b"", b"", b"", b"b"]),
        (b"\0\n\xc3\x28\xff\r\n", [b"\0", b"\xc3\x28\xff"]),
        (EVERY_BYTE, [EVERY_BYTE[:10], EVERY_BYTE[11:]]),
    ],
)
def test_lines_keep_their_ends_and_everything_else(data: bytes, messages: list[bytes]) -> None:
    assert run(LineFraming(), byte_by_byte(data)) == (messages, data, None)


def test_a_changed_reply_gets_the_end_of_its_own_line() -> None:
    _, sent, _ = run(LineFraming(), [b"one\r\ntwo\nthree"], lambda message: message[::-1] + b"!")
    assert sent == b"eno!\r\nowt!\neerht!"


@pytest.mark.parametrize("framing_class", FRAMINGS.values())
def test_a_framing_carries_every_byte_value(framing_class: type[Framing]) -> None:
    wire = prefixed(EVERY_BYTE) if framing_class is LengthPrefixedFraming else EVERY_BYTE
    seen = bytearray()

    def respond(message: bytes) -> bytes:
        seen.extend(message)
        return message

    _, sent, error = run(framing_class(), byte_by_byte(wire), respond)
    assert sent == wire
    assert set(seen) | {ord("\n")} == set(EVERY_BYTE)
    assert error is None


@pytest.mark.parametrize(
    ("framing_class", "wire"),
    [
        (RawFraming, b"hello"),
        (LineFraming, b"hello\n"),
        (LengthPrefixedFraming, b"\0\0\0\5hello"),
    ],
)
def test_a_greeting_is_wrapped_before_any_message(
    framing_class: type[Framing], wire: bytes
) -> None:
    assert framing_class().wrap(b"hello") == wire


# --- limits -----------------------------------------------------------------------------


@pytest.mark.parametrize("split", [byte_by_byte, lambda data: [data]], ids=["bytes", "whole"])
@pytest.mark.parametrize(
    ("line", "fits"),
    [
        (b"x" * LIMIT + b"\n", True),
        (b"x" * LIMIT + b"\r\n", True),
        (b"x" * LIMIT, True),
        (b"x" * (LIMIT - 1) + b"\r", True),
        (b"x" * LIMIT + b"\r", False),  # the end of the stream: this \r ends no line
        (b"x" * LIMIT + b"\rx\n", False),
        (b"x" * LIMIT + b"\r\r\n", False),
        (b"x" * (LIMIT + 1), False),
        (b"x" * (LIMIT + 1) + b"\n", False),
        (b"x" * (LIMIT + 1) + b"\r\n", False),
        (b"x" * 100_000, False),
        (b"\0" * (LIMIT + 1), False),
    ],
)
def test_a_line_may_be_as_long_as_the_limit(
    line: bytes, fits: bool, split: Callable[[bytes], list[bytes]]
) -> None:
    messages, sent, error = run(LineFraming(LIMIT), split(b"ok\n" + line))
    if fits:
        assert (messages, sent) == ([b"ok", line.removesuffix(b"\n")[:LIMIT]], b"ok\n" + line)
        assert error is None
    else:
        assert (messages, sent) == ([b"ok"], b"ok\n")
        assert error is MessageTooLong


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_end_that_is_still_on_its_way_does_not_make_a_line_too_long(end: bytes) -> None:
    framing = LineFraming(LIMIT)
    for piece in byte_by_byte(b"x" * LIMIT + end)[:-1]:
        framing.receive_data(piece)
        assert framing.next_message() is None
    framing.receive_data(b"\n")
    assert framing.next_message() == b"x" * LIMIT


def test_a_message_may_be_as_long_as_its_prefix_and_the_limit_say() -> None:
    fits = b"x" * LIMIT
    assert run(LengthPrefixedFraming(LIMIT), [prefixed(fits, fits)])[0] == [fits, fits]


@pytest.mark.parametrize("size", [LIMIT + 1, 2**31, 2**32 - 1])
def test_a_message_that_is_announced_too_long_is_refused_on_the_prefix(size: int) -> None:
    framing = LengthPrefixedFraming(LIMIT)
    framing.receive_data(prefixed(b"ok") + size.to_bytes(4, "big"))
    assert framing.next_message() == b"ok"
    with pytest.raises(MessageTooLong, match=rf"{size} bytes.*max_message_size, {LIMIT} bytes"):
        framing.next_message()


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_stream_that_ends_inside_a_message_is_an_error(cut: int) -> None:
    wire = prefixed(b"hello")[:cut]
    assert run(LengthPrefixedFraming(), [prefixed(b"ok", b"") + wire]) == (
        [b"ok", b""],
        prefixed(b"ok", b""),
        IncompleteMessage,
    )


@pytest.mark.parametrize("framing_class", FRAMINGS.values())
def test_an_empty_stream_has_no_message_and_no_error(framing_class: type[Framing]) -> None:
    assert run(framing_class(), []) == ([], b"", None)


@pytest.mark.parametrize(
    ("framing", "wire"),
    [
        (LineFraming(LIMIT), b"x" * (LIMIT + 2) + b"\nok\n"),
        (LineFraming(LIMIT), b"x" * (LIMIT + 2)),
        (LengthPrefixedFraming(LIMIT), prefixed(b"x" * (LIMIT + 1), b"ok")),
    ],
)
def test_nothing_comes_out_behind_an_error(framing: Framing, wire: bytes) -> None:
    framing.receive_data(wire)
    for _ in range(3):
        with pytest.raises(FramingError):
            framing.next_message()


# --- memory -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framing_class", "start", "piece"),
    [
        (RawFraming, b"", b"x"),
        (LineFraming, b"", b"x"),
        (LineFraming, b"", b"x" * 99 + b"\n"),
        (LengthPrefixedFraming, (2**32 - 1).to_bytes(4, "big"), b"x"),
        (LengthPrefixedFraming, (100_000).to_bytes(4, "big"), b"x"),
        (LengthPrefixedFraming, b"", prefixed(b"x" * 96)),
    ],
    ids=["raw", "no end", "many ends", "huge prefix", "prefix at the limit", "many prefixes"],
)
def test_an_endless_stream_is_never_held_beyond_the_limit(
    framing_class: type[Framing], start: bytes, piece: bytes
) -> None:
    limit, read_size = 100_000, 65_500
    piece *= read_size // len(piece)
    tracemalloc.start()
    try:
        framing = framing_class(limit)
        framing.receive_data(start)
        for _ in range(100):
            framing.receive_data(piece)
            while framing.next_message() is not None:
                continue
    except MessageTooLong:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # A message, its copies as it is taken out, and one read; of the 6.5 MB that were fed.
    assert peak < 4 * limit


def test_small_messages_are_cut_from_a_large_piece_without_moving_the_rest() -> None:
    tracemalloc.start()
    try:
        framing = RawFraming(1)
        framing.receive_data(b"x" * 100_000)
        tracemalloc.reset_peak()
        while framing.next_message() is not None:
            continue
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 150_000  # a copy of what is left would be as much again


# --- the module -------------------------------------------------------------------------


def test_the_base_class_says_what_a_framing_of_ones_own_must_have() -> None:
    framing = Framing()
    with pytest.raises(NotImplementedError):
        framing.next_message()
    with pytest.raises(NotImplementedError):
        framing.wrap(b"reply")


def test_the_framings_have_the_names_that_users_type() -> None:
    named = {"raw": RawFraming, "lines": LineFraming, "length": LengthPrefixedFraming}
    assert named == FRAMINGS


def test_framing_knows_no_socket() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import echoservers.framing; sys.exit('socket' in sys.modules)"
    )
    # Without `site`, which may load what measures coverage, and that has a socket.
    subprocess.run([sys.executable, "-I", "-S", "-c", code], timeout=20, check=True)

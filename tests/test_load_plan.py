"""Plans are checked, and come back from JSON as they were; messages differ."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoservers.errors import EndpointError, OptionError
from echoservers.lab.load import LoadPlan
from echoservers.lab.load.messages import Rings, difference

TCP, UDP = "tcp://127.0.0.1:8007", "udp://127.0.0.1:8007"


@given(
    st.builds(
        LoadPlan,
        endpoint=st.just(TCP),
        connections=st.integers(1, 20000),
        size=st.integers(300, 1 << 20),
        pipeline=st.integers(1, 1024),
        duration=st.floats(0.01, 100),
        message=st.binary(max_size=255),
        requests=st.none() | st.integers(1, 1000),
    )
)
def test_a_plan_survives_json(plan: LoadPlan) -> None:
    assert LoadPlan.from_json(plan.to_json()) == plan


def test_an_open_plan_survives_json() -> None:
    plan = LoadPlan(TCP, shape="open", rate=123.5, arrivals="poisson", seed=7)
    assert LoadPlan.from_json(plan.to_json().encode()) == plan
    assert plan.is_scheduled


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"shape": "round"}, "shape='round': expected closed, open, churn, datagram"),
        ({"arrivals": "late"}, "arrivals='late': expected fixed, poisson"),
        ({"connections": 0}, "connections=0: expected 1 to"),
        ({"size": 0}, "size=0"),
        ({"duration": 0}, "duration=0"),
        ({"timeout": -1}, "timeout=-1"),
        ({"requests": 0}, "requests=0"),
        ({"size": 3, "message": b"abc"}, "size=3: expected more than the 3 bytes"),
        ({"shape": "open"}, "rate=None: open needs messages a second"),
        ({"shape": "open", "rate": 0}, "rate=0"),
        ({"shape": "open", "rate": float("inf")}, "rate=inf"),
        ({"rate": 5.0}, "rate is for open and datagram, not for closed"),
        ({"shape": "open", "rate": 1e6, "duration": 60}, "shorten the run"),
        ({"shape": "datagram", "rate": 5.0}, "is for udp and unix-datagram, not tcp"),
        ({"endpoint": UDP, "shape": "churn"}, "churn' is for tcp"),
        ({"endpoint": UDP, "idle": 1}, "udp has none"),
        ({"endpoint": UDP, "pipeline": 2}, "pipeline=2 is for tcp"),
        ({"endpoint": UDP, "size": 65508}, "a datagram has at most 65507"),
        ({"endpoint": "raw://127.0.0.1"}, "every transport but raw"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(OptionError, match=says.replace("(", r"\(")):
        LoadPlan(**{"endpoint": TCP, **fields})  # type: ignore[arg-type]


def test_an_endpoint_is_needed() -> None:
    with pytest.raises(EndpointError):
        LoadPlan("127.0.0.1")


@pytest.mark.parametrize("text", ["", "[]", "null", '{"size": 3}', '{"endpoint": 3}', '{"a": 1}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="not the JSON of a load plan"):
        LoadPlan.from_json(text)


@pytest.mark.parametrize("size", [1, 2, 6, 7, 8, 64, 5000])
@pytest.mark.parametrize("prefix", [b"", b"work "])
def test_messages_are_lines_of_their_size(size: int, prefix: bytes) -> None:
    rings = Rings(3, size + len(prefix), prefix)
    for connection in range(3):
        for message in rings.of(connection):
            assert len(message) == size + len(prefix)
            assert message.index(b"\n") == len(message) - 1
            assert size == 1 or message.startswith(prefix)
            message.decode("ascii")


def test_no_two_messages_are_alike() -> None:
    rings = Rings(70, 8, b"")
    every = [message for connection in range(70) for message in rings.of(connection)]
    assert len(set(every)) == len(every) == 70 * 64


def test_large_messages_of_many_share_their_rings() -> None:
    rings = Rings(1000, 1 << 20, b"")
    assert rings.length == 2
    assert rings.rings == 32
    assert rings.of(32) is rings.of(0)
    assert len(rings.stream(5)) == 2 << 20


def test_a_difference_is_told_with_its_place() -> None:
    text = difference(3, 17 * 6, 6, b"abcdef", b"abcXef")
    assert text == "connection 3, message 17, byte 3: expected 'def', received 'Xef'"
    assert "received nothing" in difference(0, 0, 3, b"abc", b"ab")
    assert difference(0, 0, 50, b"x" * 50, b"y" * 50).count("...") == 2

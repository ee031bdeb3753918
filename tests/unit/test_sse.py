"""Reading an event stream, however it is cut into pieces and whatever stands in it."""

import tracemalloc
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.sessions.stream import FRAME_LIMIT, Frame, Item
from qoder_cli.sessions.stream import frames as frames_of
from tests.conftest import examples


def read(stream: bytes, *, size: int = 0, limit: int = 1000) -> list[Item]:
    """Return what a stream has to say when it comes in pieces of `size` bytes."""
    size = size or max(len(stream), 1)
    return list(frames_of((stream[n : n + size] for n in range(0, len(stream), size)), limit=limit))


X = Frame(None, "", "x")
STREAMS: list[tuple[bytes, list[Item]]] = [
    (b"", []),
    (b"id: evt_1\nevent: agent.message\ndata: {}\n\n", [Frame("evt_1", "agent.message", "{}")]),
    (b"id:evt_1\revent:ping\rdata:{}\r\r\r", [Frame("evt_1", "ping", "{}")]),
    (b"data: a\r\ndata: b\r\ndata:  c\r\n\r\n", [Frame(None, "", "a\nb\n c")]),
    (b"data\n\n", [Frame(None, "", "")]),
    (b"event: ping\n\n", [Frame(None, "ping", "")]),
    (b"event: a\nevent: b\ndata: x\n\nevent: ping\nevent:\n\n", [Frame(None, "b", "x")]),
    (b"id: 7\n\n", []),
    (b"id: 7\0\ndata: x\n\n", [X]),
    (b"id: 7\ndata: x\n\ndata: y\n\n", [Frame("7", "", "x"), Frame(None, "", "y")]),
    (b"data: x\n", []),
    (b"data: x\n\ndata: never compl", [X]),
    (b"\n\n\n", []),
    (b"\xef\xbb\xbfdata: x\n\n", [X]),
    (b"data: \xef\xbb\xbf\n\n", [Frame(None, "", "\ufeff")]),
    (b"data: x\n\xef\xbb\xbfdata: y\n\n", [X]),
    (b"retry: 10\nnonsense\nother: thing\n: in between\ndata: x\n\n", ["alive", X]),
    (b": heartbeat\n\n:\n\n", ["alive", "alive"]),
    (b"data: caf\xc3\xa9 \xff\xc3 \xe2\x80\xa8\n\n", [Frame(None, "", "caf\u00e9 \ufffd\ufffd \u2028")]),
    (b"DATA: x\n data: y\n\n", []),
]


@pytest.mark.parametrize(("stream", "frames"), STREAMS)
def test_frames_are_what_a_stream_says(stream: bytes, frames: list[Item]) -> None:
    for size in (0, 1, 2, 3, 7):
        assert read(stream, size=size) == frames


TEXT = [b"data: ", b"id: 1", b"event: e", b":", b"\r", b"\n", b"\r\n", b"\n\n"]
PIECES = [*TEXT, b"x", b"\xc3", b"\xa9", b"\xef\xbb\xbf", b"y" * 40]


@examples(Fraction(2, 3))
@given(
    st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join),
    st.lists(st.integers(0, 400), max_size=12),
    st.integers(1, 80),
)
def test_frames_are_the_same_however_a_stream_is_cut(stream: bytes, cuts: list[int], limit: int) -> None:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert list(frames_of(pieces, limit=limit)) == read(stream, limit=limit)


def test_frames_of_5_mb_are_read() -> None:
    data = b"\xc3\xa9" * (5 * 2**19)
    found = read(b"id: big\ndata: " + data + b"\n\ndata: x\n\n", size=16_384, limit=FRAME_LIMIT)
    assert found == [Frame("big", "", data.decode()), X]


@pytest.mark.parametrize("size", [0, 1, 5])
def test_frames_beyond_the_limit_are_passed_over(size: int) -> None:
    long, many = b"id: 1\ndata: " + b"x" * 200 + b"\ndata: y\n\n", b"data: xxxx\n" * 20 + b"\n"
    just = b"data: xxxx\n" * 10 + b"\n"
    found = read(long + just + many + b"data: x\n\n", size=size, limit=100)
    assert found == ["gap", Frame(None, "", "\n".join(["xxxx"] * 10)), "gap", X]


def test_frames_beyond_the_limit_are_not_kept() -> None:
    tracemalloc.start()
    try:
        assert list(frames_of((b"x" * 1000 for _ in range(1000)), limit=1000)) == []
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_frames_are_told_as_soon_as_they_are_complete_and_heartbeats_are_none() -> None:
    told = frames_of(iter([*[b": heartbeat\n"] * 50, b"data: x\n\n: y\n", b"never read"]), limit=100)
    assert [next(told) for _ in range(52)] == [*["alive"] * 50, X, "alive"]

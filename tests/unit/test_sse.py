"""Reading an event stream, however it is cut into pieces and whatever stands in it."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.sessions.feed import FRAME_LIMIT, Frame, Item
from qoder_cli.sessions.feed import frames as frames_of


def read(stream: bytes, *, size: int = 0, limit: int = 1000) -> list[Item]:
    """Return what a stream has to say when it comes in pieces of `size` bytes."""
    size = size or max(len(stream), 1)
    return list(frames_of((stream[n : n + size] for n in range(0, len(stream), size)), limit=limit))


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b"", []),
        (b"id: evt_1\nevent: agent.message\ndata: {}\n\n", [Frame("evt_1", "agent.message", "{}")]),
        (b"id:evt_1\revent:ping\rdata:{}\r\r", [Frame("evt_1", "ping", "{}")]),
        (b"data: a\r\ndata: b\r\ndata:  c\r\n\r\n", [Frame(None, "", "a\nb\n c")]),
        (b"data\n\n", [Frame(None, "", "")]),
        (b"event: ping\n\n", [Frame(None, "ping", "")]),
        (b"id: 7\n\n", []),
        (b"id: 7\0\ndata: x\n\n", [Frame(None, "", "x")]),
        (b"id: 7\ndata: x\n\ndata: y\n\n", [Frame("7", "", "x"), Frame(None, "", "y")]),
        (b"data: x\n", []),
        (b"data: x\n\ndata: never compl", [Frame(None, "", "x")]),
        (b"\n\n\n", []),
        (b"\xef\xbb\xbfdata: x\n\n", [Frame(None, "", "x")]),
        (b"data: \xef\xbb\xbf\n\n", [Frame(None, "", "\ufeff")]),
        (
            b"retry: 10\nnonsense\nother: thing\n: in between\ndata: x\n\n",
            ["alive", Frame(None, "", "x")],
        ),
        (b": heartbeat\n\n:\n\n", ["alive", "alive"]),
        (b"data: caf\xc3\xa9 \xff\xc3 \xe2\x80\xa8\n\n", [Frame(None, "", "caf\u00e9 \ufffd\ufffd \u2028")]),
        (b"DATA: x\n data: y\n\n", []),
    ],
)
def test_what_a_stream_says(stream: bytes, frames: list[Item]) -> None:
    for size in (0, 1, 2, 3, 7):
        assert read(stream, size=size) == frames


PIECES = st.sampled_from(
    [
        b"data: ",
        b"id: 1",
        b"event: e",
        b":",
        b"\r",
        b"\n",
        b"\r\n",
        b"\n\n",
        b"x",
        b"\xc3",
        b"\xa9",
        b"\xef\xbb\xbf",
        b"y" * 40,
    ]
)


@given(st.lists(PIECES, max_size=40).map(b"".join), st.lists(st.integers(0, 400), max_size=12), st.integers(1, 80))
def test_however_it_is_cut_it_says_the_same(stream: bytes, cuts: list[int], limit: int) -> None:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert list(frames_of(pieces, limit=limit)) == read(stream, limit=limit)


def test_an_event_of_5_mb_is_read() -> None:
    data = b"\xc3\xa9" * (5 * 2**19)
    stream = b"id: big\ndata: " + data + b"\n\ndata: small\n\n"
    found = read(stream, size=16_384, limit=FRAME_LIMIT)
    assert found == [Frame("big", "", data.decode()), Frame(None, "", "small")]


@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_frame_beyond_the_limit_is_passed_over(size: int) -> None:
    long = b"id: 1\ndata: " + b"x" * 200 + b"\ndata: y\n\n"
    many = b"data: xxxx\n" * 20 + b"\n"
    comment = b": " + b"x" * 200 + b"\n\n"
    stream = long + many + comment + b"data: z\n\n"
    assert read(stream, size=size, limit=100) == ["gap", "gap", Frame(None, "", "z")]


def test_what_is_passed_over_is_not_kept() -> None:
    kept: list[int] = []

    def pieces() -> Iterator[bytes]:
        for _ in range(1000):
            yield b"x" * 1000
            kept.append(sum(map(len, reading.gi_frame.f_locals["line"])))

    reading: Any = frames_of(pieces(), limit=1000)
    assert list(reading) == []
    assert max(kept) <= 1000


def test_heartbeats_for_ever_are_no_long_frame() -> None:
    told = frames_of([*[b": heartbeat\n"] * 50, b"data: x\n\n"], limit=100)
    assert list(told) == [*["alive"] * 50, Frame(None, "", "x")]


def test_each_is_told_as_soon_as_it_is_complete() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"data: x\n\n: y\n"
        raise EOFError

    told = frames_of(pieces())
    assert [next(told), next(told)] == [Frame(None, "", "x"), "alive"]

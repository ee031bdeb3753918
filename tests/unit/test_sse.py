"""Reading an event stream, however it is cut into pieces and whatever stands in it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.http.sse import Comment, Frame, Item, Parser, TooLong


def read(stream: bytes, *, size: int = 0, limit: int = 1000) -> list[Item]:
    """Return what a stream has to say when it comes in pieces of `size` bytes."""
    parser = Parser(limit=limit)
    size = size or max(len(stream), 1)
    return [item for n in range(0, len(stream), size) for item in parser.take(stream[n : n + size])]


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
            [Comment("in between"), Frame(None, "", "x")],
        ),
        (b": heartbeat\n\n:\n\n", [Comment("heartbeat"), Comment("")]),
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
    parser = Parser(limit=limit)
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert [item for piece in pieces for item in parser.take(piece)] == read(stream, limit=limit)


def test_an_event_of_5_mb_is_read() -> None:
    data = b"\xc3\xa9" * (5 * 2**19)
    stream = b"id: big\ndata: " + data + b"\n\ndata: small\n\n"
    parser = Parser()
    found: list[Item] = [item for n in range(0, len(stream), 16_384) for item in parser.take(stream[n : n + 16_384])]
    assert found == [Frame("big", "", data.decode()), Frame(None, "", "small")]


@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_frame_beyond_the_limit_is_passed_over(size: int) -> None:
    long = b"id: 1\ndata: " + b"x" * 200 + b"\ndata: y\n\n"
    many = b"data: xxxx\n" * 20 + b"\n"
    comment = b": " + b"x" * 200 + b"\n\n"
    stream = long + many + comment + b"data: z\n\n"
    assert read(stream, size=size, limit=100) == [TooLong(), TooLong(), Frame(None, "", "z")]


def test_what_is_passed_over_is_not_kept() -> None:
    parser = Parser(limit=1000)
    for _ in range(1000):
        assert parser.take(b"x" * 1000) == []
    assert sum(map(len, parser._line)) <= 1000


def test_heartbeats_for_ever_are_no_long_frame() -> None:
    parser = Parser(limit=100)
    assert [parser.take(b": heartbeat\n") for _ in range(50)] == [[Comment("heartbeat")]] * 50
    assert parser.take(b"data: x\n\n") == [Frame(None, "", "x")]

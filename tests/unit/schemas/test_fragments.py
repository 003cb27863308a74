"""Pieces come out of order, twice or not at all; what can be joined is joined, what cannot is told."""

import random
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import FragmentRejected
from schemas.fragments import (
    ITEM_COST_BYTES,
    OVERHEAD_BYTES,
    PIECE_COST_BYTES,
    Fragment,
    Reassembly,
    decode_fragment,
    encode_fragment,
    split,
)

PIECES = split(b"0123456789abcdefghij", stream=1, item=2, piece_bytes=6)


def box(max_bytes: int = 1 << 16, max_age_s: float = 10.0) -> Reassembly:
    return Reassembly(max_bytes=max_bytes, max_age_s=max_age_s)


def feed(reassembly: Reassembly, pieces: list[bytes], *, now_s: float = 0.0, source: str = "a") -> list[bytes]:
    joined = (reassembly.add(source, decode_fragment(piece), now_s=now_s) for piece in pieces)
    return [whole for whole in joined if whole is not None]


@given(st.binary(min_size=1, max_size=500), st.integers(1, 60), st.randoms(use_true_random=False))
def test_pieces_in_any_order_and_twice_join_to_what_was_cut(
    content: bytes, piece_bytes: int, shuffle: random.Random
) -> None:
    pieces = split(content, stream=5, item=6, piece_bytes=piece_bytes)
    assert max(len(piece) for piece in pieces) <= piece_bytes + OVERHEAD_BYTES
    twice = pieces[:-1] * 2
    shuffle.shuffle(twice)
    reassembly = box(1 << 20)
    assert feed(reassembly, twice) == []
    assert feed(reassembly, [pieces[-1]]) == [content]
    assert reassembly.held_bytes == 0


@given(st.binary(min_size=2, max_size=200), st.integers(1, 40), st.data())
def test_an_item_with_a_piece_missing_is_never_joined_and_is_told_when_it_is_old(
    content: bytes, piece_bytes: int, data: st.DataObject
) -> None:
    pieces = split(content, stream=5, item=6, piece_bytes=piece_bytes)
    lost = data.draw(st.integers(0, len(pieces) - 1))
    reassembly = box()
    assert feed(reassembly, [p for i, p in enumerate(pieces) if i != lost]) == []
    assert reassembly.expired(now_s=10.0) == []
    assert reassembly.expired(now_s=10.1) == ([("a", 5, 6)] if len(pieces) > 1 else [])
    assert reassembly.expired(now_s=99.0) == []
    assert reassembly.held_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(1, 300)), max_size=60))
def test_memory_stays_within_its_bound_and_every_item_is_whole_waiting_or_told(
    arrivals: list[tuple[int, int, int]],
) -> None:
    limit = 2000
    reassembly = box(limit)
    begun, done = set(), set()
    for item, index, size in arrivals:
        fragment = Fragment(1, item, index, 10, 10 * size, bytes(size))
        try:
            whole = reassembly.add("a", fragment, now_s=0.0)
        except FragmentRejected:
            continue
        begun.add(item)
        if whole is not None:
            done.add(item)
        assert reassembly.held_bytes <= limit + 10 * PIECE_COST_BYTES
    told = {item for _, _, item in reassembly.expired(now_s=0.0)}
    waiting = {item for _, _, item in reassembly.expired(now_s=100.0)}
    assert begun <= done | told | waiting


def test_many_items_of_one_byte_take_no_more_memory_than_allowed() -> None:
    """The content alone would be 1 kB; what is kept around it is 300 times that."""
    reassembly = box(64 << 10)
    for item in range(1000):
        reassembly.add("a", Fragment(1, item, 0, 2, 2, b"x"), now_s=0.0)
    assert reassembly.held_bytes <= 64 << 10
    assert len(reassembly.expired(now_s=0.0)) == 1000 - (64 << 10) // (ITEM_COST_BYTES + PIECE_COST_BYTES + 1)


def test_memory_of_many_small_items_is_what_is_said() -> None:
    """It was five times as much: an item costs more than its one small piece."""
    limit = 4 << 20
    reassembly = box(limit)
    tracemalloc.start()
    try:
        for item in range(40_000):
            reassembly.add("a" * 60, Fragment(1 << 60, item, 0, 2, 2, bytes(1)), now_s=0.0)
            reassembly.expired(now_s=0.0)
        assert tracemalloc.get_traced_memory()[0] <= 1.25 * limit
    finally:
        tracemalloc.stop()


def test_a_piece_that_comes_again_after_the_whole_is_not_told_as_a_loss() -> None:
    reassembly = box()
    assert len(feed(reassembly, PIECES)) == 1
    feed(reassembly, PIECES[:1], now_s=1.0)
    assert reassembly.expired(now_s=100.0) == []


def test_an_item_that_is_sent_again_whole_is_joined_again() -> None:
    reassembly = box()
    assert feed(reassembly, PIECES + PIECES) == [b"0123456789abcdefghij"] * 2


def test_items_of_two_sources_never_mix() -> None:
    reassembly = box()
    assert feed(reassembly, PIECES[:2], source="a") == feed(reassembly, PIECES[2:], source="b") == []


def test_the_oldest_unfinished_item_gives_way_when_memory_is_full() -> None:
    reassembly = box(2600)
    for item in range(4):
        reassembly.add("a", Fragment(1, item, 0, 2, 400, bytes(200)), now_s=float(item))
    assert reassembly.expired(now_s=4.0) == [("a", 1, 0)]


def test_an_item_larger_than_all_memory_is_refused_at_its_first_piece() -> None:
    with pytest.raises(FragmentRejected) as caught:
        box(10).add("a", Fragment(1, 1, 0, 2, 11, b"x"), now_s=0.0)
    assert caught.value.reason == "oversized"


@pytest.mark.parametrize(
    "second", [Fragment(1, 1, 1, 3, 10, b"x"), Fragment(1, 1, 1, 2, 11, b"x"), Fragment(1, 1, 1, 2, 10, b"123456789")]
)
def test_a_piece_that_contradicts_the_others_is_refused(second: Fragment) -> None:
    reassembly = box()
    reassembly.add("a", Fragment(1, 1, 0, 2, 10, b"12345"), now_s=0.0)
    with pytest.raises(FragmentRejected) as caught:
        reassembly.add("a", second, now_s=0.0)
    assert caught.value.reason == "contradiction"


def test_all_pieces_but_the_last_have_one_length() -> None:
    lengths = [len(piece) for piece in PIECES]
    assert len({a for a, _ in pairwise(lengths)}) == 1


@pytest.mark.parametrize("content", [b"", bytes(0x10000)])
def test_nothing_and_too_many_pieces_cannot_be_cut(content: bytes) -> None:
    with pytest.raises(FragmentRejected) as caught:
        split(content, stream=1, item=1, piece_bytes=1)
    assert caught.value.reason == "impossible_count"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "truncated"),
        (PIECES[0][:20], "truncated"),
        (b"XX" + PIECES[0][2:], "bad_magic"),
        (b"UF\x02" + PIECES[0][3:], "unknown_version"),
        (PIECES[0][:-1] + bytes([PIECES[0][-1] ^ 1]), "bad_crc"),
        (encode_fragment(Fragment(1, 1, 2, 2, 10, b"x")), "impossible_count"),
        (encode_fragment(Fragment(1, 1, 0, 0, 10, b"x")), "impossible_count"),
        (encode_fragment(Fragment(1, 1, 0, 1, 10, b"")), "impossible_count"),
        (encode_fragment(Fragment(1, 1, 0, 1, 2, b"xyz")), "impossible_count"),
    ],
)
def test_what_is_no_fragment_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(FragmentRejected) as caught:
        decode_fragment(content)
    assert caught.value.reason == reason


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: b"UF\x01" + tail))
def test_any_bytes_are_a_fragment_or_refused(content: bytes) -> None:
    with pytest.raises(FragmentRejected):
        decode_fragment(content)


@given(st.integers(0, len(PIECES[0]) - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_refused(at: int, flip: int) -> None:
    changed = bytearray(PIECES[0])
    changed[at] ^= flip
    with pytest.raises(FragmentRejected):
        decode_fragment(bytes(changed))

"""Foreign fragments become one message in any order; nothing makes the gateway hold more than it may."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_agent.foreign.assembly import Assembly, Piece
from gateway_agent.foreign.errors import ForeignRejected
from gateway_agent.foreign.settings import MAX_FRAGMENTS


def _pieces(content: bytes, count: int) -> list[Piece]:
    size = -(-len(content) // count)
    return [Piece(i, count, b"", content[i * size : (i + 1) * size]) for i in range(count)]


def _add(assembly: Assembly, piece: Piece, *, number: int = 1, source: str = "s", now_s: float = 0.0) -> bytes | None:
    return assembly.add(source, number, piece, whole_bytes=1000, now_s=now_s)


@given(st.binary(min_size=40, max_size=400), st.integers(1, 20), st.data())
def test_pieces_join_in_any_order_and_repeated_until_whole(content, count, data):
    pieces = _pieces(content, count)
    order = data.draw(st.permutations(pieces))
    wholes = []
    repeated = [piece for piece in order for _ in range(data.draw(st.integers(1, 2)))]
    assembly = Assembly(max_bytes=10_000, max_age_s=9.0)
    for piece in repeated:
        whole = _add(assembly, piece)
        if whole is not None:
            wholes.append(whole)
            break
    assert wholes == [content]
    assert assembly.held_bytes == 0


def test_message_that_never_becomes_whole_is_given_up_once_and_counted():
    assembly = Assembly(max_bytes=10_000, max_age_s=9.0)
    _add(assembly, _pieces(b"abcdef", 2)[0], number=7)
    assert assembly.expired(now_s=9.0) == []
    assert assembly.expired(now_s=9.1) == [("s", 7)]
    assert assembly.expired(now_s=99.0) == []
    assert assembly.held_bytes == 0


def test_last_piece_delivered_again_is_no_message_that_was_lost():
    assembly = Assembly(max_bytes=10_000, max_age_s=9.0)
    pieces = _pieces(b"abcdef", 2)
    assert [_add(assembly, piece) for piece in (*pieces, pieces[1])] == [None, b"abcdef", None]
    assert assembly.expired(now_s=99.0) == []


def test_number_that_comes_round_again_begins_a_new_message_and_the_unfinished_one_is_counted():
    assembly = Assembly(max_bytes=10_000, max_age_s=9.0)
    old, new = _pieces(b"abcdef", 3), _pieces(b"uvwxyz", 3)
    assert [_add(assembly, piece) for piece in (old[0], old[1], *new)] == [None, None, None, None, b"uvwxyz"]
    assert assembly.expired(now_s=0.0) == [("s", 1)]


def test_number_that_comes_round_after_a_whole_message_is_waited_for_and_counted_when_it_stays_in_pieces():
    assembly = Assembly(max_bytes=10_000, max_age_s=9.0)
    old, new = _pieces(b"abcdef", 2), _pieces(b"abcxyz", 2)
    for piece in (*old, old[1]):
        _add(assembly, piece)
    assert not assembly.waits_for("s", 1)
    assert _add(assembly, new[1]) is None
    assert assembly.waits_for("s", 1)
    assert assembly.expired(now_s=10.0) == [("s", 1)]


def test_number_that_comes_round_later_joins_also_when_its_first_piece_is_the_same():
    assembly = Assembly(max_bytes=10_000, max_age_s=9.0)
    for piece in _pieces(b"abcdef", 2):
        _add(assembly, piece)
    assert [_add(assembly, piece, now_s=10.0) for piece in _pieces(b"abcxyz", 2)] == [None, b"abcxyz"]


def test_messages_of_two_senders_with_one_number_do_not_mix():
    assembly = Assembly(max_bytes=10_000, max_age_s=9.0)
    one, other = _pieces(b"abcdef", 2), _pieces(b"uvwxyz", 2)
    _add(assembly, one[0])
    _add(assembly, other[0], source="t")
    assert _add(assembly, one[1]) == b"abcdef"
    assert _add(assembly, other[1], source="t") == b"uvwxyz"


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0), (0, MAX_FRAGMENTS + 1)])
def test_piece_that_cannot_be_is_refused(index, count):
    with pytest.raises(ForeignRejected) as caught:
        _add(Assembly(max_bytes=10_000, max_age_s=9.0), Piece(index, count, b"", b"x"))
    assert caught.value.reason == "impossible_count"


def test_message_larger_than_the_table_allows_is_refused_and_forgotten():
    assembly = Assembly(max_bytes=10_000, max_age_s=9.0)
    pieces = _pieces(bytes(1200), 3)
    _add(assembly, pieces[0])
    _add(assembly, pieces[1])
    with pytest.raises(ForeignRejected) as caught:
        _add(assembly, pieces[2])
    assert (caught.value.reason, assembly.held_bytes) == ("oversized", 0)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 5), st.binary(max_size=300)), max_size=60)
)
def test_memory_stays_within_the_bound_whatever_comes(arriving):
    assembly = Assembly(max_bytes=2000, max_age_s=9.0)
    for number, (source, message, index, content) in enumerate(arriving):
        _add(assembly, Piece(index, 6, b"", content), number=message, source=str(source), now_s=number / 10)
        assert assembly.held_bytes <= 2000 + 1000 + 6 * 128
    assembly.expired(now_s=1e9)
    assert assembly.held_bytes == 0

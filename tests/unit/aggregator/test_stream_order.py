"""Which records of a gateway are stored: told against a plain set of numbers."""

import hypothesis.strategies as st
from hypothesis import given

from aggregator.stream_order import StreamOrder, acknowledgements


def stored(*sequences: int, gaps: tuple[tuple[int, int], ...] = ()) -> StreamOrder:
    stream = StreamOrder()
    for sequence in sequences:
        stream.take(sequence)
    for first, last in gaps:
        stream.give_up(first, last)
    stream.advance()
    return stream


def test_records_in_order_leave_nothing_ahead() -> None:
    stream = stored(0, 1, 2)
    assert (stream.through, stream.ahead) == (2, set())


def test_a_hole_stops_the_sequence_and_its_filling_moves_it_over_all_that_overtook() -> None:
    stream = stored(0, 2, 3)
    assert (stream.through, stream.ahead) == (0, {2, 3})
    assert stream.take(1)
    assert stream.advance()
    assert (stream.through, stream.ahead) == (3, set())


def test_a_record_that_came_before_is_told_apart_whether_behind_or_ahead() -> None:
    stream = stored(0, 1, 5)
    assert [stream.take(sequence) for sequence in (0, 1, 5, 2)] == [False, False, False, True]


def test_the_sequence_passes_over_what_the_gateway_gave_up() -> None:
    stream = stored(0, 1, 10, gaps=((2, 9),))
    assert (stream.through, stream.ahead) == (10, set())


def test_a_gap_ahead_of_a_hole_waits_for_the_hole() -> None:
    stream = stored(0, 10, gaps=((3, 9),))
    assert stream.through == 0
    stream.take(1)
    stream.take(2)
    stream.advance()
    assert stream.through == 10


def test_gaps_that_touch_or_overlap_are_passed_together() -> None:
    assert stored(0, gaps=((5, 20), (1, 3), (3, 6))).through == 20


def test_a_gap_written_backwards_means_nothing() -> None:
    assert stored(0, gaps=((9, 1),)).through == 0


def test_a_huge_gap_costs_nothing() -> None:
    assert stored(gaps=((0, (1 << 63) - 2),)).through == (1 << 63) - 2


@given(
    st.lists(st.integers(0, 30), max_size=60),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=4),
)
def test_equals_the_plain_set_of_numbers(arrivals: list[int], gaps: list[tuple[int, int]]) -> None:
    stream = StreamOrder()
    settled: set[int] = set()
    for sequence in arrivals:
        assert stream.take(sequence) == (sequence not in settled)
        settled.add(sequence)
        stream.advance()
    for first, last in gaps:
        stream.give_up(first, last)
        settled |= set(range(first, last + 1))
    stream.advance()
    through = next(n for n in range(-1, 64) if n + 1 not in settled)
    assert stream.through == through
    assert stream.ahead == {n for n in arrivals if n > through}


def test_an_acknowledgement_names_what_was_seen_and_lies_beyond() -> None:
    assert acknowledgements(stored(0, 1, 5, 7), [1, 5], at_most=256) == [(1, (5,))]


def test_more_singles_than_one_message_holds_go_in_several() -> None:
    stream = stored(*range(2, 602))
    said = acknowledgements(stream, range(2, 602), at_most=256)
    assert [len(also) for _, also in said] == [256, 256, 88]
    assert sorted(n for _, also in said for n in also) == list(range(2, 602))


def test_a_batch_of_nothing_new_is_answered_too() -> None:
    assert acknowledgements(stored(0, 1), [0, 1], at_most=256) == [(1, ())]

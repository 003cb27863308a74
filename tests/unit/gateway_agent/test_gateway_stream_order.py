"""Which captures of a sensor are here, held against a model that remembers everything."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gateway_agent.stream_order import MAX_GAP, REMEMBERED, REPEATED, Arrival, StreamOrder

SEQUENCES = st.lists(st.integers(0, 40), max_size=60)


@dataclass
class Everything:
    """The slow, obvious twin."""

    seen: list[int] = field(default_factory=list)

    def arrive(self, sequence: int) -> bool:
        """Whether it was here before."""
        duplicate = sequence in self.seen
        self.seen.append(sequence)
        return duplicate

    @property
    def missing(self) -> int:
        return max(self.seen) - min(self.seen) + 1 - len(set(self.seen)) if self.seen else 0

    def may_acknowledge(self, through: int) -> bool:
        return all(sequence in self.seen for sequence in range(self.seen[0], through + 1))


@given(SEQUENCES, st.booleans())
def test_duplicates_and_holes_are_those_of_the_model(sequences: list[int], kept: bool) -> None:
    order, model, missing = StreamOrder(7), Everything(), 0
    for sequence in sequences:
        arrival = order.arrive(sequence, kept_until_ack=kept)
        assert arrival.duplicate == model.arrive(sequence)
        assert not arrival.unsure
        missing += arrival.missing
        assert missing == model.missing


@given(SEQUENCES.filter(lambda heard: all(heard.count(sequence) <= REPEATED for sequence in heard)))
def test_what_a_sensor_keeps_is_never_acknowledged_past_a_hole(sequences: list[int]) -> None:
    order, model = StreamOrder(7), Everything()
    for sequence in sequences:
        order.arrive(sequence, kept_until_ack=True)
        model.arrive(sequence)
        assert model.may_acknowledge(order.through)


@given(SEQUENCES)
def test_acknowledgement_goes_as_far_as_it_may(sequences: list[int]) -> None:
    order, model = StreamOrder(7), Everything()
    for sequence in sequences:
        order.arrive(sequence, kept_until_ack=True)
        model.arrive(sequence)
        assert order.through + 1 not in model.seen


@given(SEQUENCES)
def test_a_sensor_that_keeps_nothing_leaves_its_holes_behind(sequences: list[int]) -> None:
    order = StreamOrder(7)
    for sequence in sequences:
        order.arrive(sequence, kept_until_ack=False)
    assert order.through == max(sequences, default=-1)


@given(SEQUENCES, SEQUENCES)
def test_a_restart_forgets_no_duplicate_and_counts_no_hole_twice(before: list[int], after: list[int]) -> None:
    model, missing = Everything(), 0
    order = StreamOrder(7)
    for sequence in before:
        missing += order.arrive(sequence, kept_until_ack=True).missing
        model.arrive(sequence)
    order = StreamOrder.restore(7, set(before))
    for sequence in after:
        arrival = order.arrive(sequence, kept_until_ack=True)
        assert arrival.duplicate == model.arrive(sequence)
        missing += arrival.missing
        assert missing == model.missing


def test_what_is_older_than_remembered_is_for_the_store_to_say() -> None:
    order = StreamOrder(7)
    for sequence in range(10, 10 + 3 * REMEMBERED):
        order.arrive(sequence, kept_until_ack=False)
    assert order.arrive(10, kept_until_ack=False) == Arrival(duplicate=False, unsure=True, missing=0)
    assert order.arrive(11, kept_until_ack=False).missing == -1
    assert order.arrive(10 + 2 * REMEMBERED + 1, kept_until_ack=False).duplicate


def test_memory_is_bounded() -> None:
    order = StreamOrder(7)
    for sequence in range(0, 20 * REMEMBERED, 2):
        order.arrive(sequence, kept_until_ack=True)
    assert order._here.bit_length() <= REMEMBERED


def test_a_hole_that_was_never_filled_does_not_stop_acknowledgements_for_ever() -> None:
    """A sensor whose memory overran gives a capture up; without this it would be told of nothing again."""
    order = StreamOrder(7)
    for sequence in [0, 1, *range(3, 3 + REMEMBERED)]:
        order.arrive(sequence, kept_until_ack=True)
    assert order.through == REMEMBERED + 2


def test_captures_before_the_first_one_heard_are_not_acknowledged_while_the_sensor_may_send_them_again() -> None:
    """A broker that died with a sensor's first captures once made the gateway acknowledge what it had never heard."""
    order = StreamOrder(7)
    order.arrive(3, kept_until_ack=True)
    assert order.through == -1
    order = StreamOrder.restore(7, [3])
    for sequence in (0, 1, 2, 4):
        order.arrive(sequence, kept_until_ack=True)
    assert order.through == 4


def test_a_sensor_that_repeats_a_capture_and_no_older_one_is_acknowledged() -> None:
    """A gateway with a new disk, or a sensor whose memory overran: what is older will not come."""
    order, told = StreamOrder(7), []
    for sequence in (500, 501, 503):
        order.arrive(sequence, kept_until_ack=True)
    for _ in range(2 * REPEATED):
        for sequence in (500, 501, 503):
            if sequence > order.through:
                order.arrive(sequence, kept_until_ack=True)
        told.append(order.through)
    assert told == [-1] * (REPEATED - 1) + [501] * (REPEATED - 1) + [503] * 2


def test_time_alone_acknowledges_nothing_that_was_not_heard() -> None:
    """A sensor's first capture was lost on its way and the next one heard; then the way was cut for two minutes.

    Found by the simulation: a minute after the first one heard the gateway acknowledged the lost one, and the sensor,
    which would have sent it again, forgot it.
    """
    order = StreamOrder(7)
    for sequence in (1, 2, 3):
        order.arrive(sequence, kept_until_ack=True)
    assert order.through == -1
    order.arrive(0, kept_until_ack=True)
    assert order.through == 3


def test_a_counter_that_jumps_is_no_million_of_lost_captures() -> None:
    order = StreamOrder(7)
    order.arrive(5, kept_until_ack=False)
    assert order.arrive(5 + MAX_GAP + 1, kept_until_ack=False).missing == 0
    assert order.arrive(5 + MAX_GAP + 3, kept_until_ack=False).missing == 1


def test_captures_that_overtook_at_the_start_are_no_negative_loss() -> None:
    """Two captures overtaken at a boot once hid two lost ones later."""
    order = StreamOrder(7)
    assert [order.arrive(s, kept_until_ack=False).missing for s in (2, 0, 1, 5)] == [0, 1, -1, 2]

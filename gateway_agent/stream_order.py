"""This file knows which captures of a sensor are here: what came twice, what is missing, what may be acknowledged."""

from collections.abc import Iterable
from dataclasses import dataclass

# Newest sequences of a boot held exactly; an older one is looked up in the store, and an older hole will never come:
# sensors keep some tens of captures, and one that has dropped a capture would else never be acknowledged again.
REMEMBERED = 1024
_ALL_HERE = (1 << REMEMBERED) - 1
# The first capture heard of a boot need not be the oldest kept: a broker that died may have lost those before it, and
# the sensor sends them again, oldest first. One that has repeated a capture so often while no older one came keeps none
# that is older. No clock can say this: the way to the gateway may be cut for longer than any sensor's pause.
REPEATED = 5
MAX_GAP = 1_000_000  # a jump beyond this is a broken counter, not a million lost captures


@dataclass(frozen=True, slots=True)
class Arrival:
    """What one sequence number means.

    Attributes:
        duplicate: It was here before.
        unsure: It is older than what is remembered; ask the store.
        missing: Captures newly found missing before it (negative when one of them arrives after all).
    """

    duplicate: bool
    unsure: bool
    missing: int


@dataclass(slots=True)
class StreamOrder:
    """The order of one sensor's captures within one boot.

    A sensor that keeps its captures until they are acknowledged gets an acknowledgement only up to the first hole,
    and will send the hole again. A sensor that keeps nothing cannot: its holes are counted and left behind.
    """

    boot: int
    _here: int = 0  # bit k: sequence `_highest` - k is here; a set of them would take 100 kB a sensor
    _lowest: int = -1
    _highest: int = -1
    _through: int = -1
    _repeated: int = -1
    _repeats: int = 0

    @classmethod
    def restore(cls, boot: int, sequences: Iterable[int]) -> "StreamOrder":
        """Continue from the newest stored sequences of a boot."""
        order = cls(boot)
        stored = sorted(sequences)
        if stored:
            order._lowest, order._highest = stored[0], stored[-1]
            order._here = sum(1 << order._highest - one for one in set(stored) if one > order._highest - REMEMBERED)
            order._advance()
        return order

    @property
    def through(self) -> int:
        """Everything up to here is stored or will never come."""
        return self._through

    def arrive(self, sequence: int, *, kept_until_ack: bool) -> Arrival:
        """Take note of one capture that is about to be stored."""
        if self._is_here(sequence):
            if kept_until_ack and sequence > self._through:
                self._note_repeated(sequence)
            return Arrival(duplicate=True, unsure=False, missing=0)
        if self._highest >= 0 and sequence <= self._highest - REMEMBERED:
            return Arrival(duplicate=False, unsure=True, missing=-1 if sequence > self._lowest else 0)
        newest, missing = self._highest, self._newly_missing(sequence)
        self._here = self._here << min(self._highest - newest, REMEMBERED) & _ALL_HERE | 1 << self._highest - sequence
        if not kept_until_ack:
            self._through = max(self._through, sequence)
        self._advance()
        return Arrival(duplicate=False, unsure=False, missing=missing)

    def _newly_missing(self, sequence: int) -> int:
        if self._highest < 0 or sequence - self._highest > MAX_GAP:
            self._lowest = self._highest = sequence
            return 0
        if sequence > self._highest:
            missing = sequence - self._highest - 1
            self._highest = sequence
            return missing
        if sequence < self._lowest:
            missing = self._lowest - sequence - 1
            self._lowest = sequence
            return missing
        return -1

    def _note_repeated(self, sequence: int) -> None:
        """Count how often the oldest capture is repeated that waits behind a hole."""
        if self._repeated <= self._through or sequence < self._repeated:
            self._repeated, self._repeats = sequence, 0
        self._repeats += sequence == self._repeated
        if self._repeats >= REPEATED:
            self._through = self._repeated - 1
            self._advance()

    def _advance(self) -> None:
        self._through = max(self._through, self._highest - REMEMBERED)
        while self._is_here(self._through + 1):
            self._through += 1

    def _is_here(self, sequence: int) -> bool:
        """Whether one of the newest is here; of an older one it does not know."""
        back = self._highest - sequence
        return 0 <= back < REMEMBERED and bool(self._here >> back & 1)

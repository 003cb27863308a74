"""This file knows what sensors keep until the gateway has it for sure, and when they send it again."""

from collections import OrderedDict
from dataclasses import dataclass, field

from sensor_sim.delivery import Delivery


@dataclass(slots=True)
class _Kept:
    deliveries: list[Delivery] = field(default_factory=list)
    sent_s: float = 0.0


class KeptCaptures:
    """The memories of all sensors that keep captures; each is bounded, and when it is full the oldest goes.

    Args:
        resend_s: Sent again when not acknowledged for so long.
        window: Oldest captures of a sensor sent again at a time.

    Attributes:
        dropped: Captures given up because a memory was full.
    """

    def __init__(self, *, resend_s: float, window: int = 16) -> None:
        self._resend_s = resend_s
        self._window = window
        self._kept: dict[str, OrderedDict[tuple[int, int], _Kept]] = {}
        self._capacity: dict[str, int] = {}
        self.dropped = 0

    def limit(self, point: str, captures: int) -> None:
        """Set how many captures the sensor of a point can keep; 64 otherwise."""
        self._capacity[point] = captures

    def keep(self, delivery: Delivery, *, now_s: float) -> None:
        """Take one delivery, the whole capture or a piece of it, as first sent now."""
        point = delivery.route.point
        memory = self._kept.setdefault(point, OrderedDict())
        if any(boot != delivery.boot for boot, _ in memory):
            memory.clear()  # a restart forgets; the gateway sees the other boot
        kept = memory.get((delivery.boot, delivery.sequence))
        if kept is None:
            while len(memory) >= self._capacity.get(point, 64):
                memory.popitem(last=False)
                self.dropped += 1
            kept = memory[delivery.boot, delivery.sequence] = _Kept(sent_s=now_s)
        kept.deliveries.append(delivery)

    def acknowledge(self, point: str, boot: int, through: int) -> int:
        """Forget a point's captures of a boot up to a sequence; tell how many these were."""
        memory = self._kept.get(point, OrderedDict())
        done = [key for key in memory if key[0] == boot and key[1] <= through]
        for key in done:
            del memory[key]
        return len(done)

    def sent(self, delivery: Delivery, *, now_s: float) -> None:
        """Note that a delivery went out now, if it is still kept."""
        kept = self._kept.get(delivery.route.point, OrderedDict()).get((delivery.boot, delivery.sequence))
        if kept is not None:
            kept.sent_s = now_s

    def due(self, *, now_s: float) -> list[Delivery]:
        """Give what must be sent again now, oldest first, and note it as sent."""
        again = []
        for memory in self._kept.values():
            for number, kept in enumerate(memory.values()):
                if number >= self._window:
                    break
                if now_s - kept.sent_s >= self._resend_s:
                    kept.sent_s = now_s
                    again.extend(kept.deliveries)
        return again

    def reconnected(self) -> None:
        """Make everything due: what was on its way when the broker went may be lost."""
        for memory in self._kept.values():
            for kept in memory.values():
                kept.sent_s = -1e300

    @property
    def captures(self) -> int:
        """How many are kept now."""
        return sum(len(memory) for memory in self._kept.values())

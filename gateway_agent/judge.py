"""This file knows how a batch of captures becomes one commit: order, features, one model call, verdicts.

The live path and the back-test both run through here. No I/O: the store is asked through `known`, and the batch is
handed to the caller to commit.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway_agent.baseline import Rows
from gateway_agent.batch import BULK, DUPLICATES, GAPS, NORMAL, URGENT, Batch, CaptureRow
from gateway_agent.commissioned import Aside
from gateway_agent.foreign.reading_judge import conclude_reading
from gateway_agent.intake import Taken
from gateway_agent.label_knowledge import LabelKnowledge, LabelSums
from gateway_agent.point_monitor import Outcome, PointMonitor, Seen, assess, full_scale_counts
from gateway_agent.point_reports import largest_statistics
from gateway_agent.prognosis import levels_db
from gateway_agent.scoring import Model, StatisticalFallback
from gateway_agent.settings import GatewaySettings
from gateway_agent.shadow import Shadow
from gateway_agent.stream_order import StreamOrder
from schemas.capture import CaptureFlag
from schemas.errors import SettingsError
from schemas.messages import Record, encode
from schemas.nameplate import Nameplate
from schemas.names import machine_of
from vibration.bearing import BearingGeometry, FaultOrders, fault_orders, from_multipliers
from vibration.bearing_library import lookup_bearing
from vibration.detection_features import detection_features
from vibration.errors import VibrationError
from vibration.features import MODEL_FEATURES, FeatureKernel
from vibration.quality import all_ok, beyond_doubt

BOOTS_KEPT = 4  # of one sensor whose captures may still come; an older one's are looked up in the store
# Messages without a counter, and times each was said: more than can be on their way to the store.
UNCOUNTED_KEPT, REPETITIONS_KEPT = 4096, 16
KERNELS_KEPT = 16  # workspaces of capture shapes in use; a plant has a handful

Known = Callable[[Iterable[tuple[str, int, int]]], set[tuple[str, int, int]]]
Recall = Callable[[str, int], Sequence[int]]
"""Point and boot -> the highest stored sequences."""


@dataclass(slots=True)
class Verdict:
    """One capture's way through the judge."""

    taken: Taken
    outcome: Outcome


@dataclass(slots=True)
class Judged:
    """What a batch of captures led to.

    Attributes:
        batch: Everything to commit.
        verdicts: In the order of the captures that were new.
        acknowledge: (point, boot) -> through, for sensors that keep captures until then.
        healthy: point -> standardised rows fit for training, each (channels, F).
    """

    batch: Batch
    verdicts: list[Verdict] = field(default_factory=list)
    acknowledge: dict[tuple[str, int], int] = field(default_factory=dict)
    healthy: list[Rows] = field(default_factory=list)


def bearing_orders(plate: Nameplate) -> FaultOrders | None:
    """Fault orders of the bearing on a nameplate; None when it names none.

    Raises:
        SettingsError: The bearing is not in the library, or its geometry cannot be.
    """
    bearing = plate.bearing
    if bearing is None:
        return None
    try:
        if bearing.orders is not None:
            return from_multipliers(*bearing.orders, elements=bearing.elements)
        if bearing.elements and bearing.ball_diameter_mm and bearing.pitch_diameter_mm:
            return fault_orders(
                BearingGeometry(
                    bearing.elements, bearing.ball_diameter_mm, bearing.pitch_diameter_mm, bearing.contact_angle_deg
                )
            )
        if bearing.name:
            return lookup_bearing(bearing.name).orders
    except VibrationError as error:
        raise SettingsError(f"bearing of machine {plate.machine}: {error}") from error
    raise SettingsError(f"bearing of machine {plate.machine} has neither a name, a geometry nor orders; give one")


class Judge:
    """Holds every point of a gateway and judges captures in batches."""

    def __init__(
        self, settings: GatewaySettings, *, known: Known, recall: Recall = lambda _point, _boot: (),
        model: Model | None = None, aside: Aside | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._aside = aside
        self._known = known
        self._recall = recall
        self._plates = {plate.machine: plate for plate in settings.machines}
        self._orders = {plate.machine: bearing_orders(plate) for plate in settings.machines}
        self._kernels: dict[tuple[float, int, int], FeatureKernel] = {}
        self._streams: dict[str, OrderedDict[int, StreamOrder]] = {}
        self._uncounted: OrderedDict[tuple[str, int], deque[int]] = OrderedDict()
        self._following: deque[PointMonitor] = deque()
        self._own: dict[str, Model] = {}
        self.monitors: dict[str, PointMonitor] = {}
        self.shadow: Shadow | None = None
        self.model: Model = StatisticalFallback() if model is None else model

    def monitor(self, point: str) -> PointMonitor:
        """The monitor of a point, made when it first speaks."""
        monitor = self.monitors.get(point)
        if monitor is None:
            machine = machine_of(point)
            plate = self._plates.get(machine) or Nameplate(machine=machine)
            monitor = PointMonitor.new(
                point, plate, self._orders.get(machine), self._settings.commissioning, self._settings.alarm
            )
            monitor.aside = self._aside
            monitor.use_model(self._model_of(machine))
            self.monitors[point] = monitor
        return monitor

    def use_settings(self, settings: GatewaySettings, *, at_us: int = 0) -> dict[str, list[Record]]:
        """Judge by changed nameplates and alarm settings from the next capture on; what points have learnt stays.

        Args:
            settings: With the nameplates in force.
            at_us: The gateway's time, for what is to be told.

        Returns:
            What to tell of points whose nameplate has changed, by point.

        Raises:
            SettingsError: A bearing is not known; nothing has changed.
        """
        self._orders = {plate.machine: bearing_orders(plate) for plate in settings.machines}
        self._plates = {plate.machine: plate for plate in settings.machines}
        self._settings = settings
        told: dict[str, list[Record]] = {}
        for point, monitor in self.monitors.items():
            machine = machine_of(point)
            plate = self._plates.get(machine) or Nameplate(machine=machine)
            records = monitor.use_plate(plate, self._orders.get(machine), at_us)
            if records:
                told[point] = records
            monitor.alarm.settings = settings.alarm
        return told

    def use_model(self, model: Model) -> None:
        """Score with another model from now on; every limit is calibrated anew, which takes milliseconds a point."""
        self.change_model(model)
        while self.following:
            self.follow_model()

    def change_model(self, model: Model, *, watched: bool = False) -> None:
        """Let points go over to another model one by one, with every `follow_model`; until then each judges as before.

        A point's model and limits change together, between two captures: none is unscored or judged by a mixed pair.

        Args:
            model: The other.
            watched: The one before goes on beside it, without a say, so that the two can be compared.
        """
        before, self.model = self.model, model
        self._own.clear()  # they were compared with the one before
        self.shadow = Shadow(before, model, self.monitors, uncalibrated=()) if watched else None
        self._following = deque(monitor for monitor in self.monitors.values() if monitor.model is not model)

    def use_own(self, machine: str, model: Model | None) -> None:
        """Have one machine's points go over to a model of its own, or back to everybody's; as in `change_model`."""
        if model is None:
            self._own.pop(machine, None)
        else:
            self._own[machine] = model
        wanted = self._model_of(machine)
        self._following.extend(
            monitor
            for monitor in self.monitors.values()
            if machine_of(monitor.point) == machine and monitor.model is not wanted
        )

    def _model_of(self, machine: str) -> Model:
        return self._own.get(machine, self.model)

    @property
    def following(self) -> int:
        """Points that still judge by a model before, or are not calibrated for the shadow."""
        return len(self._following) + (self.shadow.waiting if self.shadow is not None else 0)

    def follow_model(self) -> None:
        """Take one more point over to the model in use; when all are, calibrate one more for the shadow."""
        while self._following:
            monitor = self._following.popleft()
            if self.shadow is not None and self.shadow.model is monitor.model:
                self.shadow.remember(monitor)
            if monitor.use_model(self._model_of(machine_of(monitor.point))):
                return
        if self.shadow is not None:
            self.shadow.calibrate_one()

    def try_beside(self, model: Model | None) -> None:
        """Score every capture with this model too, without any say in verdicts, from now on; None ends it."""
        self.shadow = None if model is None else Shadow(model, self.model, self.monitors, uncalibrated=self.monitors)

    def labels_changed(self) -> None:
        """Let every point judge with what labels of all of them have taught so far."""
        sums = sum((monitor.labelled for monitor in self.monitors.values()), LabelSums())
        knowledge = LabelKnowledge(sums) if sums.series.any() else None
        for monitor in self.monitors.values():
            monitor.knowledge = knowledge

    def process(self, items: Sequence[Taken], *, now_us: int, diagnose_always: bool = False) -> Judged:
        """Judge captures in the order they came."""
        return self.conclude(items, self.look(items), now_us=now_us, diagnose_always=diagnose_always)

    def look(self, items: Sequence[Taken]) -> list[Seen | None]:
        """Describe captures: features and quality; None for readings, which have neither.

        Needs nothing of what points have learnt, so it may run in another thread while earlier captures are concluded;
        in one at a time.
        """
        groups: dict[tuple[float, int, int], list[int]] = {}
        for index, taken in enumerate(items):
            if taken.reading is None:
                c = taken.capture
                groups.setdefault((c.sample_rate_hz, c.samples, c.channels), []).append(index)
        seen: list[Seen | None] = [None] * len(items)
        for shape, indices in groups.items():
            kernel = self.kernel(*shape)
            captures = [items[i].capture for i in indices]
            features = kernel.run([c.counts for c in captures], np.stack([c.scale_g for c in captures]))
            detection = detection_features(features[:, :, MODEL_FEATURES])
            levels, largest = levels_db(features), largest_statistics(features)
            fine = beyond_doubt(
                [c.counts for c in captures], sample_rate_hz=shape[0],
                full_scale_counts=[full_scale_counts(c) for c in captures],
            )  # fmt: skip
            for row, index in enumerate(indices):
                plate = self._plates.get(machine_of(items[index].point))
                quality = all_ok(shape[2]) if fine[row] else assess(captures[row], plate.rpm if plate else None)
                seen[index] = Seen(
                    captures[row], features[row], detection[row], levels[row], largest[row], kernel, quality
                )
        return seen

    def conclude(
        self, items: Sequence[Taken], seen: Sequence[Seen | None], *, now_us: int, diagnose_always: bool = False
    ) -> Judged:
        """Judge captures in the order they came, by what `look` found of each."""
        judged = Judged(Batch(now_us))
        changed: set[str] = set()
        for taken, one in self._order(items, seen, judged):
            monitor = self.monitor(taken.point)
            if taken.reading is not None:
                outcome = conclude_reading(monitor, taken.capture, taken.reading, now_us=now_us)
            else:
                assert one is not None
                outcome = monitor.conclude(one, now_us=now_us, diagnose_always=diagnose_always)
            judged.verdicts.append(Verdict(taken, outcome))
            if self.shadow is not None:
                self.shadow.note(monitor, outcome)
            self._keep(judged.batch, taken, one, outcome)
            if outcome.healthy_rows is not None:
                judged.healthy.append(outcome.healthy_rows)
            if outcome.state_changed:
                changed.add(taken.point)
        if self.shadow is not None:
            self.shadow.score()
        for point in changed:
            judged.batch.point_states[point] = self.monitors[point].dump()
        return judged

    def kernel(self, sample_rate_hz: float, samples: int, channels: int) -> FeatureKernel:
        """The feature kernel for captures of one shape."""
        shape = (sample_rate_hz, samples, channels)
        kernel = self._kernels.get(shape)
        if kernel is None:
            if len(self._kernels) >= KERNELS_KEPT:
                del self._kernels[next(iter(self._kernels))]
            kernel = self._kernels[shape] = FeatureKernel(
                sample_rate_hz=sample_rate_hz, samples=samples, channels=channels
            )
        return kernel

    def _order(
        self, items: Sequence[Taken], seen: Sequence[Seen | None], judged: Judged
    ) -> list[tuple[Taken, Seen | None]]:
        """What was not here before."""
        fresh: list[tuple[Taken, Seen | None]] = []
        here: set[tuple[str, int, int]] = set()
        counts: Counter[str] = judged.batch.counts
        for taken, one in zip(items, seen, strict=True):
            capture = taken.capture
            key = (taken.point, capture.boot, capture.sequence)
            if taken.same_within_s is not None:
                if self._said_before(taken, taken.same_within_s):
                    counts[DUPLICATES] += 1
                else:
                    fresh.append((taken, one))
                continue
            stream = self._stream(taken.point, capture.boot)
            kept = bool(capture.flags & CaptureFlag.KEPT_UNTIL_ACK)
            arrival = stream.arrive(capture.sequence, kept_until_ack=kept)
            if kept:
                judged.acknowledge[taken.point, capture.boot] = stream.through
            if arrival.duplicate or key in here or (arrival.unsure and self._known([key])):
                counts[DUPLICATES] += 1
                continue
            here.add(key)
            if arrival.missing:
                counts[GAPS] += arrival.missing
            fresh.append((taken, one))
        return fresh

    def _said_before(self, taken: Taken, within_s: float) -> bool:
        """Of a sensor without a counter: its boot names the message, its sequence when in s it came."""
        name, at_s = (taken.point, taken.capture.boot), taken.capture.sequence
        just_said = self._uncounted.setdefault(name, deque(maxlen=REPETITIONS_KEPT))
        self._uncounted.move_to_end(name)
        if len(self._uncounted) > UNCOUNTED_KEPT:
            self._uncounted.popitem(last=False)
        known = {*just_said, *self._recall(*name), *(key[2] for key in self._known([(*name, at_s)]))}
        if any(abs(at_s - before_s) < within_s for before_s in known):
            return True
        just_said.append(at_s)
        return False

    def _stream(self, point: str, boot: int) -> StreamOrder:
        boots = self._streams.setdefault(point, OrderedDict())
        if boot not in boots:
            boots[boot] = StreamOrder.restore(boot, self._recall(point, boot))
            if len(boots) > BOOTS_KEPT:
                boots.popitem(last=False)
        boots.move_to_end(boot)
        return boots[boot]

    @staticmethod
    def _keep(batch: Batch, taken: Taken, one: Seen | None, outcome: Outcome) -> None:
        capture = taken.capture
        features: NDArray[np.float32] | None = None if one is None else one.features[:, MODEL_FEATURES]
        health = outcome.health
        batch.captures.append(
            CaptureRow(
                taken.point, capture.boot, capture.sequence, capture.measured_at_us, taken.received_at_us,
                health.quality, outcome.healthy_rows is not None, health.score,
                np.ascontiguousarray(features).tobytes()
                if features is not None and np.isfinite(features).all() else None,
                encode(health).decode(), taken.raw,
            )
        )  # fmt: skip
        batch.records.append((NORMAL, health))
        batch.records += [(priority_of(record), record) for record in outcome.records]


def priority_of(record: Record) -> int:
    """Where a record stands in the outbox."""
    if record.kind == "health":
        return NORMAL
    return BULK if record.kind == "evidence" else URGENT

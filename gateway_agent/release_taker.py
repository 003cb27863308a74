"""This file knows how releases and candidates are taken in beside the work on captures, in a thread of their own.

Files, checks, golden vectors and trials happen here; the thread that judges captures only exchanges one model for
another, and takes its points over one by one (`Judge.follow_model`). In idle moments one machine after another is
asked whether the fleet's model serves it better than one of its own would.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np

from gateway_agent.acceptance import CAPTURES, MOST_POINTS, HealthyPoint, gate_report
from gateway_agent.batch import Batch, GaveWay
from gateway_agent.judge import Judge
from gateway_agent.local_only import machine_fit
from gateway_agent.model_slot import LoadedModel
from gateway_agent.point_monitor import PointMonitor
from gateway_agent.release_shelf import ReleaseShelf
from gateway_agent.store import Store
from gateway_agent.synthetic_faults import fault_patterns
from gateway_agent.worker import Job
from schemas.link import Received
from schemas.logs import event
from schemas.messages import GateReport, MachineFit
from schemas.names import machine_of
from schemas.topics import CANDIDATE
from vibration.features import MODEL_FEATURES

log = logging.getLogger(__name__)

WAITING = 1000  # fragments; when full the oldest gives way, the site repeats what matters
LOOK_S = 1.0
BESIDE_S = 24 * 3600.0  # how long a second model is tried at most: a site that wants more sends it again
MOST_FITS = 200  # machines; about as many as a status of 500 points has room for besides
_F = MODEL_FEATURES.stop - MODEL_FEATURES.start


class ReleaseTaker:
    """Takes in what comes on the topics `release` and `candidate`; `run` is its thread.

    Attributes:
        gate: What this gateway's own held-back captures say of the last candidate.
        fits: Machine -> the fleet's model against one of its own.
    """

    def __init__(
        self, shelf: ReleaseShelf, store: Store, judge: Judge, *, site: str, do: Callable[[Job], None],
        tell: Callable[[], None], wall_us: Callable[[], int], compare_every_s: float,
    ) -> None:  # fmt: skip
        self._shelf = shelf
        self._store = store
        self._judge = judge
        self._site = site
        self._do = do
        self._tell = tell
        self._wall_us = wall_us
        self._compare_every_s = compare_every_s
        self._compared_at_s = time.monotonic()
        self._changed = threading.Condition()
        self._arrived: deque[Received] = deque(maxlen=WAITING)
        self._gave_way = GaveWay()
        self._stopping = False
        self._next: LoadedModel | None = None
        self._beside: LoadedModel | None = None
        self._beside_until_s = math.inf
        self._is_overdue = False
        self.gate: GateReport | None = None
        self.fits: Mapping[str, MachineFit] = {}

    def put(self, received: Received) -> None:
        """Take one fragment from the network thread."""
        with self._changed:
            full = len(self._arrived) == WAITING
            self._arrived.append(received)
            self._changed.notify()
        if full:
            self._gave_way.one()
            self._do(self._count_what_gave_way)

    def _count_what_gave_way(self, _judge: Judge, batch: Batch) -> None:
        self._gave_way.count(batch)

    def stop(self) -> None:
        """End after what is in hand."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self) -> None:
        """Work until stopped."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._arrived or self._stopping, LOOK_S)
                if self._stopping:
                    return
                received = self._arrived.popleft() if self._arrived else None
            if received is not None:
                self.take(received)
            else:
                self.look()

    def take(self, received: Received) -> None:
        """Take one fragment; with the last one of a release it is put into use, of a candidate tried."""
        now_s, problem = time.monotonic(), self._shelf.problem
        if CANDIDATE.match(received.topic) is not None:
            candidate = self._shelf.receive_candidate(received.topic, received.payload, site=self._site, now_s=now_s)
            if candidate is not None:
                self.try_beside(candidate)
        elif self._shelf.receive(received.topic, received.payload, site=self._site, now_s=now_s) is not None:
            self.use(self._shelf.slot.loaded)
        elif self._shelf.problem != problem:
            self._tell()

    def use(self, model: LoadedModel) -> None:
        """Have points judge by another model, and the one before it go on beside it."""
        self._next = model
        self._beside_until_s = time.monotonic() + BESIDE_S
        self._do(self._exchange)

    def try_beside(self, candidate: LoadedModel) -> None:
        """Judge a candidate on what was held back, and have every capture scored by it too."""
        in_use = self._shelf.current
        release = candidate.release
        self.gate = gate_report(
            self._healthy_points(), candidate, self._shelf.slot.loaded, version=release.version, digest=release.digest,
            in_use_version=in_use.version,
        )  # fmt: skip
        event(log, logging.INFO, "candidate_tried", version=release.version, auroc=self.gate.auroc,
              auroc_in_use=self.gate.auroc_in_use, loss=self.gate.loss, loss_in_use=self.gate.loss_in_use,
              text=self.gate.problem)  # fmt: skip
        self._beside, self._beside_until_s = candidate, time.monotonic() + BESIDE_S
        self._do(self._put_beside)

    def look(self) -> None:
        """What nobody has asked for: end a trial that lasts too long, see the time, and compare one more machine."""
        now_s = time.monotonic()
        self._say_overdue()
        if now_s >= self._beside_until_s:
            self._beside, self._beside_until_s = None, math.inf
            self._do(self._put_beside)
        if now_s - self._compared_at_s >= self._compare_every_s:
            self._compared_at_s = now_s
            self.compare_one()

    def _say_overdue(self) -> None:
        overdue, was = self._shelf.overdue, self._is_overdue
        self._is_overdue = bool(overdue)
        if overdue and not was:
            event(log, logging.ERROR, "release_overdue", version=self._shelf.current.version, text=overdue)
            self._tell()

    def compare_one(self) -> None:
        """Compare the fleet's model with one of its own on the machine where that is longest ago."""
        fleet = self._shelf.slot.loaded
        by_machine: dict[str, list[PointMonitor]] = {}
        for monitor in list(self._judge.monitors.values()):
            by_machine.setdefault(machine_of(monitor.point), []).append(monitor)
        known = dict(self.fits)
        due = [name for name in by_machine if name not in known or known[name].release_version != fleet.version]
        if not due:
            return
        machine = min(due, key=lambda name: known[name].at_us if name in known else 0)
        points = [point for monitor in by_machine[machine] if (point := self._healthy_point(monitor)) is not None]
        found = machine_fit(machine, points, fleet, self._shelf.builtin_model(), at_us=self._wall_us())
        known.pop(machine, None)
        if found is not None:
            known[machine] = found.fit
            self._do(lambda judge, _batch: _choose(judge, machine, found.own, fleet))
            while len(known) > MOST_FITS:
                del known[min(known, key=lambda name: known[name].at_us)]
        self.fits = known

    def _healthy_points(self) -> list[HealthyPoint]:
        monitors = list(self._judge.monitors.values())
        some = monitors[:: max(1, math.ceil(len(monitors) / MOST_POINTS))]
        return [point for monitor in some if (point := self._healthy_point(monitor)) is not None]

    def _healthy_point(self, monitor: PointMonitor) -> HealthyPoint | None:
        shape = monitor.shape
        if not monitor.ready or shape is None:
            return None
        blobs = self._store.healthy_features(monitor.point, CAPTURES)
        rows = [np.frombuffer(blob, np.float32).reshape(-1, _F) for blob in blobs]
        features = np.stack(fitting) if (fitting := [one for one in rows if len(one) == shape[1]]) else None
        if features is None:
            return None
        rpm = monitor.plate.rpm
        patterns = fault_patterns((shape[0], shape[2]), rpm / 60.0 if rpm else None, monitor.orders)
        baselines = [monitor.baseline_of(one) for one in features]
        return HealthyPoint(machine_of(monitor.point), features, baselines, patterns)

    def _exchange(self, judge: Judge, _batch: Batch) -> None:
        model, self._next = self._next, None
        if model is not None:
            judge.change_model(model, watched=True)
            event(log, logging.INFO, "release_running", version=model.version, digest=model.release.digest)
            self._tell()

    def _put_beside(self, judge: Judge, _batch: Batch) -> None:
        candidate = self._beside
        if candidate is None or candidate.version > judge.model.version:
            judge.try_beside(candidate)
        self._tell()


def _choose(judge: Judge, machine: str, own: LoadedModel | None, fleet: LoadedModel) -> None:
    if judge.model is fleet:  # else another release has come meanwhile, and the two are compared anew
        judge.use_own(machine, own)
        event(log, logging.INFO, "model_chosen", machine=machine, version=fleet.version,
              model="fleet" if own is None else "own")  # fmt: skip

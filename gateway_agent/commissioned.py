"""This file knows what one point has learnt of its healthy machine, and how it is kept.

Everything that commissioning gathers is here: features by operating state, healthy pictures for the diagnosis,
levels for the prognosis, levels by which a loose sensor is known. It never leaves the gateway.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gateway_agent.baseline import Detector, Rows
from gateway_agent.diagnosis import OrderReference
from gateway_agent.limits import MIN_CAPTURES, Limit
from gateway_agent.operating_states import OperatingStates, Told, conditions
from gateway_agent.point_reports import STATISTIC
from gateway_agent.prognosis import HealthyLevels, levels_db
from gateway_agent.session_sums import Session
from schemas.container import array_blob, blob_array
from schemas.variation import HealthyPrior
from vibration.detection_features import detection_features
from vibration.features import MODEL_FEATURES
from vibration.quality import ChannelBaseline, measure_baseline

FloatArray = NDArray[np.float64]
Aside = Callable[[NDArray[Any]], Callable[[], NDArray[Any]]]
"""Takes an array that is seldom wanted, and gives what brings it back."""
_Number = TypeVar("_Number", np.float32, np.float64)
_NO_FEATURES, _NO_LEVELS = np.zeros((0, 0, 0), np.float32), np.zeros((0, 0))


@dataclass(slots=True)
class Commissioned:
    """What healthy is at one point.

    Attributes:
        shape: Rate in Hz, channels and samples of its captures; None before the first.
        features: Model features of the healthy captures, (n, channels, F); none once put aside, nor levels or pictures.
        told: Speed and load of each.
        levels_db: Levels of each as the prognosis wants them, (n, channels x 3).
        began_us: When the first was measured.
        states: Baselines and limits, provisional until commissioning is complete.
        channel_levels: Low and high RMS of each channel.
        rms_g: Acceleration RMS of each channel, mean.
        reference: Healthy pictures for the diagnosis, as they are gathered; `pictures` gives them at any time.
        pictures_by: What of the nameplate they were drawn by (`point_monitor.drawn_by`); None before the first.
    """

    shape: tuple[float, int, int] | None = None
    features: Rows = field(default_factory=lambda: _NO_FEATURES)
    told: list[Told] = field(default_factory=list)
    levels_db: FloatArray = field(default_factory=lambda: _NO_LEVELS)
    began_us: int = 0
    states: OperatingStates = field(default_factory=OperatingStates)
    channel_levels: tuple[ChannelBaseline, ...] | None = None
    rms_g: FloatArray | None = None
    reference: OrderReference = field(default_factory=OrderReference)
    pictures_by: list[Any] | None = None
    _aside: tuple[Callable[[], Rows], Callable[[], FloatArray], Callable[[], FloatArray] | None] | None = None

    @property
    def count(self) -> int:
        """How many healthy captures were heard."""
        return len(self.told)

    @property
    def layout(self) -> tuple[float, int]:
        """Rate in Hz and samples of its captures."""
        assert self.shape is not None, "asked for the layout of a point that has learnt nothing"
        return self.shape[0], self.shape[2]

    def learn(
        self, features: NDArray[np.float32], acceleration_g: FloatArray, picture: FloatArray, told: Told, *,
        shape: tuple[float, int, int], measured_at_us: int,
    ) -> None:  # fmt: skip
        """Take in one healthy capture.

        Args:
            features: All features, shape (channels, F).
            acceleration_g: Shape (channels, samples), g.
            picture: Of `gateway_agent.diagnosis.picture_of`.
            told: Speed and load told with it.
            shape: See the attribute.
            measured_at_us: When.
        """
        if self.shape is None:
            self.shape = shape
        if not self.count or not self.began_us:  # the first version of the software did not note it
            self.began_us = measured_at_us
        self.features = _with(self.features, features[:, MODEL_FEATURES])
        self.told.append(
            self.told[-1] if self.told and self.told[-1] == told else told
        )  # most tell the same: one object
        self.levels_db = _with(self.levels_db, levels_db(features))
        self.reference.learn(picture)
        levels = measure_baseline(acceleration_g)
        rms = features[:, STATISTIC["acceleration_rms_g"]].astype(np.float64)
        if self.channel_levels is None or self.rms_g is None:
            self.channel_levels, self.rms_g = levels, rms
            return
        share = 1.0 / self.count
        self.channel_levels = tuple(
            ChannelBaseline(
                old.low_rms + share * (new.low_rms - old.low_rms), old.high_rms + share * (new.high_rms - old.high_rms)
            )
            for old, new in zip(self.channel_levels, levels, strict=True)
        )
        self.rms_g = self.rms_g + share * (rms - self.rms_g)

    def calibrate(self, prior: HealthyPrior, *, false_alarm_rate: float, detector: Detector) -> None:
        """Baselines and limits from the healthy captures so far."""
        if self.count >= MIN_CAPTURES:
            self.states = OperatingStates.commission(
                self.detection(), self.told, prior, self.layout, false_alarm_rate=false_alarm_rate, detector=detector
            )

    def limits_by(self, prior: HealthyPrior, *, detector: Detector) -> list[Limit]:
        """The limit of each state by other knowledge of the fleet; nothing changes here."""
        return self.states.limits_by(self.detection(), self.told, prior, self.layout, detector)

    def put_aside(self, aside: Aside) -> None:
        """Nothing more is learnt: what is not held against every capture leaves the memory."""
        if self._aside is None:
            self._aside = aside(self.features), aside(self.levels_db), aside(self.reference.mean)
            self.features, self.levels_db = _NO_FEATURES, _NO_LEVELS
            self.reference = OrderReference(self.reference.count)

    def gathered(self) -> tuple[Rows, FloatArray]:
        """Model features and levels of the healthy captures, wherever they are."""
        here, aside = (self.features, self.levels_db), self._aside  # in this order: another thread may put it aside now
        return here if aside is None else (aside[0](), aside[1]())

    def pictures(self) -> OrderReference:
        """Healthy pictures for the diagnosis, wherever they are."""
        aside = None if self._aside is None else self._aside[2]
        return self.reference if aside is None else OrderReference(self.reference.count, aside())

    def forget_pictures(self) -> None:
        """Draw the healthy pictures anew, from the healthy captures that come; everything else stays."""
        self.reference, self.pictures_by = OrderReference(), None
        if self._aside is not None:
            self._aside = (*self._aside[:2], None)

    @property
    def wants_pictures(self) -> bool:
        """Whether healthy captures are still to be drawn though commissioning is complete."""
        return self.reference.count < self.count

    def learn_picture(self, picture: FloatArray, aside: Aside | None) -> None:
        """Take in the picture of a healthy capture after commissioning; see `gateway_agent.diagnosis.picture_of`."""
        self.reference = self.pictures()
        if self._aside is not None:
            self._aside = (*self._aside[:2], None)
        self.reference.learn(picture)
        if self._aside is not None and aside is not None and not self.wants_pictures:
            self._aside = (*self._aside[:2], aside(self.reference.mean))
            self.reference = OrderReference(self.reference.count)

    def detection(self) -> FloatArray:
        """Detection features of the healthy captures, shape (n, channels, F)."""
        return detection_features(self.gathered()[0])

    def sessions(self) -> list[Session]:
        """What was heard, for the fleet to learn from as sums: a session for each speed and load."""
        features = self.detection()
        return [Session(features[members], self.layout) for _, members in conditions(self.told)]

    def healthy_levels(self) -> HealthyLevels:
        """Levels of the healthy machine, for the prognosis."""
        return HealthyLevels.learn(self.gathered()[1])

    def dump(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The whole, as JSON and blobs; `load` continues from it."""
        features, levels = self.gathered()
        arrays: dict[str, NDArray[Any]] = {
            "learnt": features, "learnt_levels": levels, "reference": self.pictures().mean,
        }  # fmt: skip
        described = {name: array_blob(array) for name, array in arrays.items()}
        states, blobs = self.states.dump()
        meta: dict[str, Any] = {name: description for name, (description, _) in described.items()}
        meta |= {
            "shape": self.shape, "began_us": self.began_us, "states": states, "reference_count": self.reference.count,
            "learnt_told": [[told.rpm, told.load] for told in self.told],
            "levels": [[level.low_rms, level.high_rms] for level in self.channel_levels or ()],
            "healthy_rms_g": None if self.rms_g is None else self.rms_g.tolist(), "pictures_by": self.pictures_by,
        }  # fmt: skip
        return meta, {**{name: blob for name, (_, blob) in described.items()}, **blobs}

    @classmethod
    def load(cls, meta: dict[str, Any], blobs: dict[str, bytes]) -> "Commissioned":
        """Continue from what `dump` gave."""
        return cls(
            shape=tuple(meta["shape"]) if meta["shape"] else None,
            features=np.array(blob_array(meta["learnt"], blobs["learnt"])),
            told=[Told(rpm, load) for rpm, load in meta["learnt_told"]],
            levels_db=np.array(blob_array(meta["learnt_levels"], blobs["learnt_levels"])),
            began_us=meta["began_us"],
            states=OperatingStates.load(meta["states"], blobs),
            channel_levels=tuple(ChannelBaseline(low, high) for low, high in meta["levels"]) or None,
            rms_g=None if meta["healthy_rms_g"] is None else np.asarray(meta["healthy_rms_g"]),
            reference=OrderReference(
                meta["reference_count"], np.array(blob_array(meta["reference"], blobs["reference"]))
            ),
            pictures_by=meta.get("pictures_by"),
        )

    @classmethod
    def load_first(cls, meta: dict[str, Any], blobs: dict[str, bytes]) -> "Commissioned":
        """Take over what the first version of the software left; the caller calibrates, and pictures are heard anew."""
        features = np.array(blob_array(meta["learnt"], blobs["learnt"]))
        return cls(
            shape=tuple(meta["shape"]) if meta["shape"] else None, features=features, told=[Told()] * len(features),
            channel_levels=tuple(ChannelBaseline(low, high) for low, high in meta["levels"]) or None,
            rms_g=None if meta["healthy_rms_g"] is None else np.asarray(meta["healthy_rms_g"]),
        )  # fmt: skip


def _with(gathered: NDArray[_Number], one: NDArray[_Number]) -> NDArray[_Number]:
    """One array and not one a capture: a gateway keeps those of thousands of points."""
    return np.concatenate([gathered, one[None]]) if len(gathered) else np.array(one[None])


def told_with(rpm: float, load: float) -> Told:
    """Speed and load as a capture tells them; a nameplate's are the same for all and part no states."""
    return Told(rpm if math.isfinite(rpm) and rpm > 0 else None, load if math.isfinite(load) else None)

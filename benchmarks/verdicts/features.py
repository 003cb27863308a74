"""This file knows what the baselines see of a window: the product's own kernel, by the names of its features."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdicts.recordings import Part, Samples, cut
from vibration.features import BANDS as BAND_SLICE
from vibration.features import FEATURE_NAMES, FeatureKernel

Rows = NDArray[np.float64]
"""Features of windows, shape (windows, channels, features)."""

BANDS = tuple(range(*BAND_SLICE.indices(len(FEATURE_NAMES))))
ENVELOPE = tuple(i for i, name in enumerate(FEATURE_NAMES) if name.startswith("envelope_band_"))
RMS = (FEATURE_NAMES.index("acceleration_rms_g"),)
KURTOSIS = (FEATURE_NAMES.index("kurtosis"),)
_FLOOR = 1e-9  # under the logarithm of RMS and kurtosis; a dead channel has neither


class FeatureCache:
    """Features of parts of recordings, calculated once a run; RMS and kurtosis as logarithms, like the powers."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, float], Rows] = {}

    def rows(self, parts: Sequence[Part], window_s: float) -> Rows:
        """Features of all windows of the parts, in order."""
        return np.concatenate([self._rows(part, window_s) for part in parts])

    def _rows(self, part: Part, window_s: float) -> Rows:
        key = (part.argument, window_s)
        if key not in self._known:
            self._known[key] = features_of(cut(part, window_s), part.head.rate_hz)
        return self._known[key]


def features_of(windows: Sequence[Samples], rate_hz: float) -> Rows:
    """Calculate the features of windows of one length."""
    channels, samples = windows[0].shape
    kernel = FeatureKernel(sample_rate_hz=rate_hz, samples=samples, channels=channels)
    rows = kernel.run(list(windows), np.ones(channels)).astype(np.float64)
    logs = [*RMS, *KURTOSIS]
    rows[:, :, logs] = np.log10(np.maximum(rows[:, :, logs], _FLOOR))
    return rows

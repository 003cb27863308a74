"""This file knows how damage would change a healthy capture's band powers: faults made by known physics.

Nothing is measured and nothing is learnt: a fault adds power where theory says, as many dB as stated in the bands
that it meets. It is a yardstick by which two models are compared on a machine that has never failed.
"""

import numpy as np
from numpy.typing import NDArray

from vibration.bearing import FaultOrders
from vibration.features import band_edges_hz, default_envelope_band_hz, envelope_band_edges_hz

FloatArray = NDArray[np.float64]
Layout = tuple[float, int]
"""Rate in Hz and samples of a capture."""

# Growth of the power in the band that a fault meets most. The trade's alert is doubled amplitude (6 dB), danger four
# times (12 dB): half of the one, the one, and nearly the other.
SEVERITIES_DB = (3.0, 6.0, 10.0)
HARMONICS = 3  # of a bearing's rhythm in the envelope
LOOSE_HARMONICS = 10  # of the shaft: what rattles repeats every turn (ISO 13373-1, annex)
RINGING = 0.5  # of the growth in the envelope, what the ringing adds to the band that is demodulated


def fault_patterns(layout: Layout, shaft_hz: float | None, orders: FaultOrders | None) -> dict[str, FloatArray]:
    """Where each fault adds power, shape (bands + envelope bands,), 1 where it adds most.

    Args:
        layout: Of the captures.
        shaft_hz: Turns a second; without them only what shows at no rhythm of the shaft can be told.
        orders: Of the bearing, where it is known.
    """
    narrow, envelope = band_edges_hz(*layout), envelope_band_edges_hz(*layout)
    low_hz, high_hz = default_envelope_band_hz(*layout)
    ringing = ((narrow[:-1] < high_hz) & (narrow[1:] > low_hz)).astype(np.float64)
    count = len(envelope) - 1
    patterns = {"friction": np.concatenate([ringing, np.zeros(count)])}
    if shaft_hz:
        shaft = {
            "imbalance": {1.0: 1.0},
            "misalignment": {1.0: 0.5, 2.0: 1.0, 3.0: 0.5},
            "looseness": {float(k): 1.0 / np.sqrt(k) for k in range(1, LOOSE_HARMONICS + 1)},
        }
        for name, lines in shaft.items():
            patterns[name] = np.concatenate([_lines(narrow, shaft_hz, lines), np.zeros(count)])
        rhythms = {} if orders is None else {"outer": orders.bpfo, "inner": orders.bpfi, "ball": 2.0 * orders.bsf}
        for name, order in rhythms.items():
            lines = {order * k: 1.0 / k for k in range(1, HARMONICS + 1)}
            patterns[name] = np.concatenate([RINGING * ringing, _lines(envelope, shaft_hz, lines)])
    return {name: pattern for name, pattern in patterns.items() if pattern.max() > 0.0}


def with_fault(model_features: NDArray[np.floating], pattern: FloatArray, severity_db: float) -> FloatArray:
    """Healthy band powers with a fault added.

    Args:
        model_features: log10 g², shape (..., bands + envelope bands).
        pattern: Of `fault_patterns`.
        severity_db: Growth of the power where the pattern is 1.
    """
    growth: FloatArray = np.log10(1.0 + pattern * (10.0 ** (severity_db / 10.0) - 1.0))
    changed: FloatArray = model_features + growth
    return changed


def _lines(edges: FloatArray, shaft_hz: float, lines: dict[float, float]) -> FloatArray:
    """Power at orders of the shaft, in the bands they fall into; what lies outside is not seen."""
    power = np.zeros(len(edges) - 1)
    for order, share in lines.items():
        band = int(np.searchsorted(edges, order * shaft_hz, side="right")) - 1
        if 0 <= band < len(power):
            power[band] = max(power[band], share)
    return power

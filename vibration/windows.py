"""This file knows the window functions we use, and what each does to a line and to noise.

All windows are periodic (made for the transform, not for filter design).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vibration.errors import WindowError

WindowName = Literal["hann", "flattop", "rectangular"]

# Coefficients of a0 - a1 cos x + a2 cos 2x - ...; flat top after D'Antona & Ferrero, as in scipy.
_COSINES: dict[WindowName, tuple[float, ...]] = {
    "hann": (0.5, 0.5),
    "flattop": (0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
    "rectangular": (1.0,),
}


@dataclass(frozen=True)
class Window:
    """A window function of one length, with the two numbers that make its spectra right.

    Attributes:
        name: Which window.
        values: Factor for each sample, shape (samples,).
        coherent_gain: Mean of the values; divide a line's amplitude by it.
        power_gain: Mean of the squared values; divide a power by it.
        noise_bandwidth_lines: Width of the window's noise filter in spectral lines (1.5 for Hann).
    """

    name: WindowName
    values: NDArray[np.float64]
    coherent_gain: float
    power_gain: float
    noise_bandwidth_lines: float


def make_window(name: WindowName, samples: int) -> Window:
    """Make a window of a length.

    Args:
        name: "hann" for most work, "flattop" to read amplitudes of single lines, "rectangular" for signals
            that begin and end inside the window.
        samples: Length, at least 8.

    Raises:
        WindowError: The name is unknown or the length below 8.
    """
    if name not in _COSINES:
        raise WindowError(f"window is {name!r}, one of {', '.join(_COSINES)} expected")
    if samples < 8:
        raise WindowError(f"window has {samples} samples, at least 8 expected")
    phase = 2.0 * np.pi * np.arange(samples) / samples
    values = np.zeros(samples)
    for order, coefficient in enumerate(_COSINES[name]):
        values += (-1.0) ** order * coefficient * np.cos(order * phase)
    coherent_gain = float(values.mean())
    power_gain = float(np.mean(values * values))
    return Window(name, values, coherent_gain, power_gain, power_gain / coherent_gain**2)

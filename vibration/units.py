"""This file knows the trade's units and how they turn into each other.

Conversions between acceleration and velocity hold for one sine of a known frequency only. The overall level
of a mixture is converted line by line in the spectrum (`spectrum.velocity_rms_mm_s`), never by these.
"""

import math

from vibration.errors import VibrationError

G_MM_S2 = 9806.65
"""Standard gravity in mm/s²: one g."""

G_M_S2 = 9.80665
"""Standard gravity in m/s²."""

MM_PER_INCH = 25.4


def g_to_m_s2(acceleration_g: float) -> float:
    """Turn g into m/s²."""
    return acceleration_g * G_M_S2


def m_s2_to_g(acceleration_m_s2: float) -> float:
    """Turn m/s² into g."""
    return acceleration_m_s2 / G_M_S2


def sine_velocity_mm_s(acceleration_g: float, frequency_hz: float) -> float:
    """Return the velocity of a sine in mm/s, in the sense (RMS or peak) in which the acceleration is given.

    Args:
        acceleration_g: Acceleration in g, RMS or peak.
        frequency_hz: Frequency of the sine, above 0.

    Raises:
        VibrationError: The frequency is not above 0.
    """
    return acceleration_g * G_MM_S2 / (2.0 * math.pi * _above_zero(frequency_hz))


def sine_acceleration_g(velocity_mm_s: float, frequency_hz: float) -> float:
    """Return the acceleration of a sine in g, in the sense (RMS or peak) in which the velocity is given.

    Raises:
        VibrationError: The frequency is not above 0.
    """
    return velocity_mm_s * 2.0 * math.pi * _above_zero(frequency_hz) / G_MM_S2


def sine_displacement_um_pk_pk(velocity_rms_mm_s: float, frequency_hz: float) -> float:
    """Return the displacement of a sine in micrometres peak to peak from its velocity in mm/s RMS.

    Raises:
        VibrationError: The frequency is not above 0.
    """
    amplitude_mm = velocity_rms_mm_s * math.sqrt(2.0) / (2.0 * math.pi * _above_zero(frequency_hz))
    return 2.0 * amplitude_mm * 1000.0


def in_s_peak_to_mm_s_rms(velocity_in_s_peak: float) -> float:
    """Turn in/s peak into mm/s RMS. Right for a sine only: 1 in/s peak is 17.96 mm/s RMS."""
    return velocity_in_s_peak * MM_PER_INCH / math.sqrt(2.0)


def mm_s_rms_to_in_s_peak(velocity_rms_mm_s: float) -> float:
    """Turn mm/s RMS into in/s peak ("derived" peak). Right for a sine only."""
    return velocity_rms_mm_s * math.sqrt(2.0) / MM_PER_INCH


def rpm_to_hz(speed_rpm: float) -> float:
    """Turn revolutions a minute into revolutions a second."""
    return speed_rpm / 60.0


def hz_to_rpm(frequency_hz: float) -> float:
    """Turn revolutions a second into revolutions a minute."""
    return frequency_hz * 60.0


def ratio_to_db(amplitude_ratio: float) -> float:
    """Return an amplitude ratio in dB; minus infinity for 0.

    Raises:
        VibrationError: The ratio is below 0.
    """
    if amplitude_ratio < 0.0:
        raise VibrationError(f"amplitude ratio is {amplitude_ratio}, at least 0 expected")
    return 20.0 * math.log10(amplitude_ratio) if amplitude_ratio > 0.0 else -math.inf


def db_to_ratio(level_db: float) -> float:
    """Return the amplitude ratio of a level in dB."""
    return float(10.0 ** (level_db / 20.0))


def _above_zero(frequency_hz: float) -> float:
    if not frequency_hz > 0.0:
        raise VibrationError(f"frequency is {frequency_hz} Hz, above 0 expected")
    return frequency_hz

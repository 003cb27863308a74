"""This file knows the name of the model's inputs: which features in which order, for `Manifest.features`."""

from vibration.features import BAND_COUNT, ENVELOPE_BAND_COUNT

FEATURE_LAYOUT = f"log_bands_{BAND_COUNT}_envelope_{ENVELOPE_BAND_COUNT}"

"""This file knows what the merge rules are called, for settings that need no numpy."""

from typing import Literal

ClippedRule = Literal[
    "median", "trimmed_mean", "krum", "multi_krum", "geometric_median", "centred_clipping", "robust", "levelled"
]  # fmt: skip
ChosenRule = Literal["mean", "fltrust", ClippedRule]
UsedRule = Literal["none", ChosenRule]
Rule = Literal["auto", ChosenRule]

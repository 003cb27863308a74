"""The states of a machine to somebody who sees colours differently: told apart by lightness, shape and letter.

Vision is simulated by the matrices of Machado, Oliveira and Fernandes (2009), doi:10.1109/TVCG.2009.113, severity 1.0,
which work on linear sRGB; lightness and distance are those of CIE L*a*b* with the white D65.
"""

from itertools import combinations

import numpy as np
import pytest

from dashboard.condition import LEVELS
from dashboard.theme import DARK, LIGHT

VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
PRIORITIES = ("danger", "alert", "notice")
STEP = 5.0  # of lightness; side by side, 1 can just be seen
APART = 12.0  # of colour, all in all; what nobody takes for the same at a glance
TEXT, GRAPHIC = 4.5, 3.0  # contrast against the ground that WCAG 2.2 asks of each


def seen(colour, vision):
    """A hex colour as somebody sees it, in linear sRGB."""
    coded = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255.0
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    return np.clip(np.array(VISION[vision]) @ linear, 0.0, 1.0)


def lab(colour, vision):
    """A hex colour as somebody sees it: lightness, green to red, blue to yellow."""
    share = TO_XYZ @ seen(colour, vision) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(share > (6 / 29) ** 3, np.cbrt(share), share * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one, other):
    low, high = sorted(TO_XYZ[1] @ seen(colour, "normal") for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def colour_of(name, theme):
    return theme[f"{LEVELS[name].colour}Color"]


@pytest.fixture(params=[LIGHT, DARK], ids=["light", "dark"])
def theme(request):
    return request.param


def test_no_two_states_share_shape_or_letter_or_word():
    for attribute in ("shape", "mark", "word"):
        values = [getattr(level, attribute) for level in LEVELS.values()]
        assert len(set(values)) == len(values), attribute
    letters = [level.letter for level in LEVELS.values()]
    assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("vision", VISION)
def test_each_priority_is_a_step_of_lightness_from_the_next(theme, vision):
    lightness = [lab(colour_of(name, theme), vision)[0] for name in PRIORITIES]
    assert np.all(np.diff(lightness) >= STEP), lightness


@pytest.mark.parametrize("vision", VISION)
def test_no_state_that_needs_somebody_looks_like_another_or_like_a_quiet_one(theme, vision):
    names = (*PRIORITIES, "sensor", "normal")
    for one, other in combinations(names, 2):
        apart = np.linalg.norm(lab(colour_of(one, theme), vision) - lab(colour_of(other, theme), vision))
        assert apart >= APART, f"{one} and {other}: {apart:.1f}"


@pytest.mark.parametrize("ground", ["backgroundColor", "secondaryBackgroundColor"])
def test_states_are_read_on_every_ground(theme, ground):
    for name in LEVELS:
        least = GRAPHIC if name == "notice" else TEXT
        assert contrast(colour_of(name, theme), theme[ground]) >= least, name

"""This file knows which part of what was merged goes where: from gateways to their site, from the site to the fleet.

A release without levels is merged whole, and every function here then gives back what it was given. Masks come from
`schemas.parameter_levels.ParameterLevels.of`, or `levels_of` for a release at hand.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.parameter_levels import ParameterLevels
from schemas.release import Release

Parameters = NDArray[np.float32]


def levels_of(release: Release) -> ParameterLevels:
    """The levels of a release's parameters.

    Raises:
        ReleaseRejected: bad_levels: its manifest names parts that its spec.json does not have.
    """
    manifest = release.manifest
    return ParameterLevels.of(release.spec().get("parameters"), manifest.levels, manifest.parameter_count)


def part_for_site(delta: NDArray[Any], levels: ParameterLevels) -> NDArray[Any]:
    """What of a gateway's update its site may merge: machine parts are 0, whatever the gateway sent.

    Call it on every update before norms are taken: otherwise a member could spend, or hide, length where nothing is
    merged.

    Args:
        delta: A gateway's update, or the site's merge of them, shape (P,).
        levels: Of the release that was learnt on.
    """
    return np.where(levels.machine, delta.dtype.type(0), delta)


def part_for_enterprise(delta: NDArray[Any], levels: ParameterLevels) -> NDArray[Any]:
    """What of a site's merged delta goes up to the enterprise: only what the fleet shares, the rest is 0.

    The enterprise calls it again on what arrives, for the same reason as `part_for_site`.

    Args:
        delta: The site's merged delta, shape (P,).
        levels: Of the release that was learnt on.
    """
    return np.where(levels.fleet, delta, delta.dtype.type(0))


def with_own_parts(fleet: Parameters, own: Parameters, levels: ParameterLevels) -> Parameters:
    """Parameters that come down from the enterprise, with the parts that are the site's own kept.

    Both what a site trains when the enterprise asks and what it adopts afterwards: of `fleet` only the shared part
    counts.

    Args:
        fleet: Parameters of the fleet, shape (P,).
        own: Parameters of the site's current release, shape (P,).
        levels: Of the site's current release.
    """
    return np.where(levels.fleet, fleet, own)

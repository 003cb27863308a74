"""This file knows which part of a model is merged where: across the fleet, within a site, or nowhere.

A release says so in its manifest, as `levels = {"layer_3": "site", "layer_4": "machine"}`: a part is every parameter of
spec.json's table whose name is the word before the colon, or begins with it and an underscore; of two words that fit,
the longer counts. What no word fits is merged across the fleet, and a release that says nothing is merged whole.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ReleaseRejected

MergeLevel = Literal["fleet", "site", "machine"]
MAX_PARAMETER_ROWS = 4096
_ORDER: tuple[MergeLevel, ...] = ("fleet", "site", "machine")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class ParameterLevels:
    """How far each element of theta travels.

    Attributes:
        fleet: Elements that are merged across all sites, shape (P,).
        site: Elements that are merged within a site and go no further, shape (P,).
        machine: Elements that never leave a gateway, shape (P,).
    """

    fleet: Mask
    site: Mask
    machine: Mask

    @classmethod
    def of(cls, parameters: object, levels: Mapping[str, MergeLevel], count: int) -> Self:
        """Work out the masks of a release.

        Args:
            parameters: The table `parameters` of its spec.json: name, shape, offset of each, in order without gaps.
            levels: What its manifest says.
            count: P, as its manifest promises.

        Raises:
            ReleaseRejected: With `reason` bad_levels: the table does not lay out P elements, or a word fits none of
                its names.
        """
        if not levels:
            whole = np.ones(count, np.bool_)
            return cls(whole, ~whole, ~whole)
        level_of = np.zeros(count, np.int8)
        unused = set(levels)
        for name, part in _slices(parameters, count):
            words = [word for word in levels if name == word or name.startswith(f"{word}_")]
            unused.difference_update(words)
            if words:
                level_of[part] = _ORDER.index(levels[max(words, key=len)])
        if unused:
            raise ReleaseRejected("bad_levels", f"levels name {sorted(unused)}, which no parameter's name begins with")
        return cls(*(level_of == place for place in range(len(_ORDER))))

    def mask(self, levels: tuple[MergeLevel, ...]) -> Mask:
        """Elements of any of these levels, shape (P,)."""
        masks = {"fleet": self.fleet, "site": self.site, "machine": self.machine}
        chosen: Mask = np.any([masks[level] for level in levels], axis=0)
        return chosen


def _slices(parameters: object, count: int) -> list[tuple[str, slice]]:
    rows: Any = parameters
    try:
        if len(rows) > MAX_PARAMETER_ROWS:
            raise ValueError(f"{len(rows)} parameters, {MAX_PARAMETER_ROWS} allowed")
        found, end = [], 0
        for row in rows:
            size = math.prod(_size(each) for each in row["shape"])
            if _size(row["offset"]) != end or end + size > count:
                raise ValueError(f"{row['name']} does not follow the parameter before it")
            found.append((str(row["name"]), slice(end, end + size)))
            end += size
    except (TypeError, KeyError, ValueError) as error:
        raise ReleaseRejected("bad_levels", f"spec.json's table of parameters cannot be read: {error!r}") from error
    if end != count:
        raise ReleaseRejected("bad_levels", f"spec.json's table lays out {end} parameters, {count} needed")
    return found


def _size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no size")
    return value

"""This file knows bearings by name: their geometry, where it was read, and the fault orders that follow."""

import difflib
import functools
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

from vibration.bearing import BearingGeometry, FaultOrders, fault_orders, self_test
from vibration.errors import GeometryError, UnknownBearingError

_REQUIRED = ("name", "elements", "ball_diameter_mm", "pitch_diameter_mm", "source", "provenance")
_ALLOWED = {*_REQUIRED, "aliases", "contact_angle_deg", "use"}


@dataclass(frozen=True)
class Bearing:
    """One bearing of the library.

    Attributes:
        name: Maker and designation.
        aliases: Other names it is found under.
        geometry: The numbers stored.
        orders: Fault orders calculated from them.
        source: Who published the geometry.
        provenance: How well it is known, e.g. "published", "measured", "maker".
        use: Where this bearing is found; may be empty.
    """

    name: str
    aliases: tuple[str, ...]
    geometry: BearingGeometry
    orders: FaultOrders
    source: str
    provenance: str
    use: str = ""


class BearingLibrary:
    """Finds bearings by name or alias, whatever the spaces, dashes and capitals.

    Args:
        bearings: The entries; names and aliases must be unique.
        ambiguous: Names that no single geometry answers, each with the reason.

    Raises:
        GeometryError: A name stands for two bearings.
    """

    def __init__(self, bearings: Iterable[Bearing], ambiguous: dict[str, str] | None = None) -> None:
        self._bearings = tuple(bearings)
        self._ambiguous = {_plain(name): reason for name, reason in (ambiguous or {}).items()}
        self._by_name: dict[str, Bearing] = {}
        for bearing in self._bearings:
            for name in {_plain(name) for name in (bearing.name, *bearing.aliases)}:
                if name in self._by_name:
                    other = self._by_name[name].name
                    raise GeometryError(f"bearing name {name!r} stands for both {other} and {bearing.name}")
                self._by_name[name] = bearing

    def __iter__(self) -> Iterator[Bearing]:
        return iter(self._bearings)

    def __len__(self) -> int:
        return len(self._bearings)

    def lookup(self, name: str) -> Bearing:
        """Find a bearing.

        Raises:
            UnknownBearingError: None has this name; the message lists near names and says what to do.
        """
        plain = _plain(name)
        if plain in self._by_name:
            return self._by_name[plain]
        if plain in self._ambiguous:
            raise UnknownBearingError(
                f"bearing {name!r}: {self._ambiguous[plain]}; give elements, ball and pitch diameter instead"
            )
        near = dict.fromkeys(
            self._by_name[match].name for match in difflib.get_close_matches(plain, self._by_name, 5, 0.5)
        )
        hint = f"near: {', '.join(near)}" if near else f"known: {', '.join(b.name for b in self._bearings)}"
        raise UnknownBearingError(
            f"bearing {name!r} is not in the library ({hint}); give one of these, or its geometry"
        )


def parse_library(text: str) -> BearingLibrary:
    """Read a library from TOML text of the form of `bearing_library.toml`; a user's own is read the same way.

    Raises:
        GeometryError: The text is no TOML, a key is missing or unknown, or a geometry fails the self-tests.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise GeometryError(f"bearing library is not TOML: {error}") from error
    bearings = [_bearing(row) for row in table.get("bearing", [])]
    ambiguous = {row["name"]: row["reason"] for row in table.get("ambiguous", [])}
    return BearingLibrary(bearings, ambiguous)


@functools.cache
def load_library() -> BearingLibrary:
    """Return the library that ships with the product."""
    text = resources.files("vibration").joinpath("bearing_library.toml").read_text(encoding="utf-8")
    return parse_library(text)


def lookup_bearing(name: str) -> Bearing:
    """Find a bearing in the library that ships with the product.

    Raises:
        UnknownBearingError: None has this name; the message lists near names.
    """
    return load_library().lookup(name)


def _bearing(row: dict[str, Any]) -> Bearing:
    name = row.get("name", "without a name")
    missing = [key for key in _REQUIRED if key not in row]
    unknown = sorted(set(row) - _ALLOWED)
    if missing or unknown:
        said = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(unknown)
        raise GeometryError(f"bearing {name}: entry {' and '.join(said)}; allowed: {', '.join(sorted(_ALLOWED))}")
    try:
        geometry = BearingGeometry(
            elements=int(row["elements"]),
            ball_diameter_mm=float(row["ball_diameter_mm"]),
            pitch_diameter_mm=float(row["pitch_diameter_mm"]),
            contact_angle_deg=float(row.get("contact_angle_deg", 0.0)),
        )
    except (TypeError, ValueError) as error:
        raise GeometryError(f"bearing {name}: {error}") from error
    orders = fault_orders(geometry)
    reasons = self_test(orders, geometry.elements)
    if reasons:
        raise GeometryError(f"bearing {name}: {'; '.join(reasons)}")
    return Bearing(
        name=name,
        aliases=tuple(row.get("aliases", ())),
        geometry=geometry,
        orders=orders,
        source=row["source"],
        provenance=row["provenance"],
        use=row.get("use", ""),
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())

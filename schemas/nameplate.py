"""This file knows what a plant tells about a machine: the nameplate, in TOML."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from schemas.errors import SettingsError
from schemas.names import Name
from schemas.settings import Settings


class BearingPlate(Settings):
    """A bearing: by name from the library, by geometry, or by the maker's multipliers."""

    name: str | None = None
    elements: int | None = Field(default=None, ge=3, le=200)
    ball_diameter_mm: float | None = Field(default=None, gt=0)
    pitch_diameter_mm: float | None = Field(default=None, gt=0)
    contact_angle_deg: float = Field(default=0.0, ge=0, lt=90)
    orders: tuple[float, float, float, float] | None = Field(
        default=None, description="BPFO, BPFI, BSF, FTF per shaft turn, as the maker prints them."
    )


class Nameplate(Settings):
    """One machine. What is not known stays out: nothing is guessed from a default."""

    machine: Name = "machine"
    title: str = ""
    area: str = Field(default="", max_length=200, description="Line or part of the plant, for its map.")
    power_kw: float | None = Field(default=None, gt=0)
    foundation: Literal["rigid", "flexible"] | None = None
    kind: Literal["general", "pump", "fan", "reciprocating"] = "general"
    unit_calibrated: bool = Field(default=True, description="Whether the sensor's g are g.")
    sensor_from_hz: float | None = Field(
        default=None, gt=0, description="From where on its sensors measure (3 dB); a zone needs 10 Hz, 2 below 600 rpm."
    )
    rpm: float | None = Field(default=None, gt=0)
    rpm_range: tuple[float, float] | None = None
    bearing: BearingPlate | None = None
    gear_teeth: int | None = Field(default=None, ge=5, le=500)
    line_frequency_hz: float = Field(default=50.0, ge=10, le=400)
    criticality: int = Field(default=3, ge=1, le=5, description="5 stops the plant, 1 nobody notices.")


def load_nameplate(path: Path) -> Nameplate:
    """Read one nameplate from a TOML file.

    Raises:
        SettingsError: The file cannot be read or a value is not allowed.
    """
    try:
        return Nameplate.model_validate(tomllib.loads(path.read_text()))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"nameplate {path} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"nameplate {path} cannot be used at {where!r}: {first['msg']}") from error

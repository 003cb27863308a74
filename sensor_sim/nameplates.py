"""This file knows how to write nameplates down again, as a gateway's settings want them."""

import json
from collections.abc import Iterable

from schemas.nameplate import Nameplate


def nameplates_toml(nameplates: Iterable[Nameplate]) -> str:
    """Write `[[machines]]` tables; what is not known stays out."""
    return "\n".join(_table(plate) for plate in nameplates)


def _table(plate: Nameplate) -> str:
    known = plate.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    bearing = known.pop("bearing", None)
    lines = ["[[machines]]", f"machine = {json.dumps(plate.machine)}"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in known.items() if name != "machine"]
    if bearing:
        lines += ["[machines.bearing]", *(f"{name} = {json.dumps(value)}" for name, value in bearing.items())]
    return "\n".join(lines) + "\n"

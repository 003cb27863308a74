"""This file knows how this gateway stands, as its site may choose by it: power, load, and rows to learn from."""

import os
from pathlib import Path

from schemas.member_condition import MemberCondition

POWER_SUPPLIES = Path("/sys/class/power_supply")  # Linux; see its documentation, ABI/testing/sysfs-class-power


def own_condition(rows: int, supplies: Path = POWER_SUPPLIES) -> MemberCondition:
    """Look at this machine now; what it does not tell stays unknown.

    Args:
        rows: Healthy rows there are to learn from.
        supplies: Where the system lists its power supplies.
    """
    mains, battery = None, None
    for supply in sorted(supplies.glob("*")):
        kind = _read(supply / "type")
        if kind in {"Mains", "USB"} and (online := _read(supply / "online")).isdigit():
            mains = max(mains or 0.0, float(online != "0"))
        elif kind == "Battery" and (share := _read(supply / "capacity")).isdigit():
            battery = min(1.0, int(share) / 100)
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return MemberCondition(on_mains=mains, battery_share=battery, cpu_load=load, rows=float(rows))


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""

"""This file knows what breaks in a simulated hour: drawn from the seed, before anything runs."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

GATEWAY_PLACES = ("written", "synced", "synced", "statement", "commit", "acknowledge", "acknowledged", "publish")
SITE_PLACES = ("statement", "commit", "publish", "acknowledge", "acknowledged")
WEIGHTS = {
    "gateway_killed": 16, "sync_fails": 1, "disk_full": 2, "broker_killed": 2, "broker_saves": 1, "link_cut": 4,
    "link_flaps": 1, "plant_partition": 1, "site_killed": 6, "database_away": 2, "clock_step": 2, "sensor_reboots": 3,
    "poison": 4, "machine_fails": 2, "sensor_sticks": 3, "burst": 4,
}  # fmt: skip
LINKS = ("radio", "captures", "control")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        at_s: When, since the simulation began.
        kind: A key of `WEIGHTS`.
        gateway: Whose, where it concerns one.
        lasts_s: Until it heals by itself.
        place: The kill point, the link, or the way it fails.
        count: How often the kill point is passed before it strikes, how much the broker holds when it does, how many
            cuts, captures or messages.
        sensor: Which of the gateway's, where it concerns one; any if None.
    """

    at_s: float
    kind: str
    gateway: str
    lasts_s: float
    place: str = ""
    count: int = 1
    sensor: int | None = None


def draw_faults(draw: random.Random, gateways: Sequence[str], *, duration_s: float) -> list[Fault]:
    """Draw an hour of trouble, worse in some seeds than in others."""
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
    at_s = sorted(draw.uniform(0.03, 0.97) * duration_s for _ in range(draw.randint(10, 60)))
    return [_draw_fault(draw, one, draw.choices(kinds, weights)[0], draw.choice(gateways)) for one in at_s]


def _draw_fault(draw: random.Random, at_s: float, kind: str, gateway: str) -> Fault:
    lasts_s = min(900.0, draw.lognormvariate(4.5, 1.0))
    match kind:
        case "gateway_killed":
            place = draw.choice(GATEWAY_PLACES)
            count = draw.randint(1, 20) if place == "statement" else draw.randint(1, 3)
            return Fault(at_s, kind, gateway, 900.0, place, count)
        case "site_killed":
            place = draw.choice(SITE_PLACES)
            count = draw.randint(1, 60) if place == "statement" else draw.randint(1, 6)
            return Fault(at_s, kind, gateway, 300.0, place, count)
        case "disk_full":
            return Fault(at_s, kind, gateway, lasts_s, draw.choice(("captures", "database_too")))
        case "broker_killed":
            return Fault(
                at_s, kind, gateway, lasts_s / 4, draw.choice(("all_lost", "from_autosave")), draw.randint(1, 12)
            )
        case "link_cut":
            return Fault(at_s, kind, gateway, lasts_s, draw.choice((*LINKS, "historian", "all")))
        case "link_flaps":
            return Fault(at_s, kind, gateway, lasts_s, draw.choice((*LINKS, "historian")), draw.randint(3, 12))
        case "clock_step":
            return Fault(at_s, kind, gateway, 0.0, draw.choice(("hour_back", "day_forward")))
        case "sensor_reboots":
            return Fault(at_s, kind, gateway, 0.0, draw.choice(("forgets", "keeps")))
        case "burst":
            return Fault(at_s, kind, gateway, 0.0, draw.choice(("", "after_reboot")), draw.randint(4, 24))
        case "poison" | "machine_fails" | "sensor_sticks":
            return Fault(at_s, kind, gateway, 0.0, "", draw.randint(1, 6))
        case _:
            return Fault(at_s, kind, gateway, lasts_s)

"""A plant whose machines are in every mixture of states that one may get into, drawn by chance, from one seed."""

from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from schemas.site_tables import machine, machine_case, point
from tests.support.site_database import NOW_US, open_case

HOUR_US = 3_600_000_000


def write_chance_plant(connection: Connection, seed: int, machines: int) -> None:
    """Write machines with points and cases."""
    rng: Any = np.random.default_rng(seed)
    for number in range(machines):
        name = f"m-{number:03}"
        connection.execute(
            sa.insert(machine).values(
                machine=name, title=f"Machine {number}" if number % 3 else "", criticality=int(rng.integers(1, 6)),
                first_seen_us=0, area=str(rng.choice(["", "Kiln", "Raw mill"])),
            )
        )  # fmt: skip
        for place in range(int(rng.integers(0, 4))):
            age_us = int(rng.choice([20.0, 1700.0, 1900.0, 90_000.0]) * 1e6)
            received = None if rng.random() < 0.1 else NOW_US - age_us
            connection.execute(
                sa.insert(point).values(
                    point=f"{name}/p{place}", machine=name, gateway="gw-a",
                    learning=str(rng.choice(["ready", "ready", "ready", "learning", "suspect"])), learning_share=0.5,
                    quality=str(rng.choice(["ok", "ok", "ok", "remounted", "machine_stopped", "saturated"])),
                    notice="", last_received_us=received,
                    last_measured_us=None if rng.random() < 0.1 else NOW_US - age_us,
                    interval_s=[None, 600.0, 0.0, 1.0][int(rng.integers(4))],
                )
            )  # fmt: skip
        if rng.random() < 0.5:
            case_id = open_case(
                connection, name=name, priority=str(rng.choice(["danger", "alert", "notice", "sensor"])),
                title="because", diagnosis=(), at_us=NOW_US - HOUR_US,
                state=str(rng.choice(["open", "acknowledged"])),
            )  # fmt: skip
            label, share = str(rng.choice(["outer", "unknown"])), round(float(rng.random()), 3)
            diagnosis = [{"label": label, "confidence": share}] if rng.random() < 0.7 else []
            until_us = [None, NOW_US + HOUR_US, NOW_US - HOUR_US][int(rng.integers(3))]
            connection.execute(
                sa.update(machine_case)
                .where(machine_case.c.case_id == case_id)
                .values(diagnosis=diagnosis, shelved_until_us=until_us)
            )

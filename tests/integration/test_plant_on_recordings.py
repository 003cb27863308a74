"""Real recordings through real processes: replay, broker, gateway, site; checked where people see the verdict."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway_agent.store import read_only
from gateway_agent.store_tables import capture_table
from schemas.site_tables import alarm, evidence, health, machine_case
from tests.support.plant import SitePlant, run, site_plant, wait_until

BASELINE_CAPTURES = 5  # a quarter of a second each: 1.25 s of the one healthy recording, disjoint from what is tested
CWRU = "cwru/1797_Normal.npz"
ADI = "adi/{speed}_GoB_GS_BaLo_WA_{load}.npz"

# machine -> (healthy recording, its part that is tested or None, faulty recording or None)
MACHINES: dict[str, tuple[str, tuple[float, float] | None, str | None]] = {
    "cwru-healthy": (CWRU, (2.5, 5.0), None),
    "cwru-outer": (CWRU, None, "cwru/1797_ORat6_7_DE48.npz"),
    "cwru-outer-2": (CWRU, None, "cwru/1797_ORat3_7_DE48.npz"),
    "cwru-inner": (CWRU, None, "cwru/1797_IR_7_DE48.npz"),
    "cwru-inner-2": (CWRU, None, "cwru/1797_IR_21_DE48.npz"),
    "cwru-ball": (CWRU, None, "cwru/1797_B_21_DE48.npz"),
    "adi-healthy": (ADI.format(speed="2400", load="00lb"), (1.25, 2.0), None),
    "adi-healthy-2": (ADI.format(speed="1200", load="11lb"), (1.25, 2.0), None),
    "adi-outer": (ADI.format(speed="2400", load="00lb"), None, "adi/2400_HOR_GS_BaLo_WA_00lb.npz"),
    "adi-inner": (ADI.format(speed="1200", load="11lb"), None, "adi/1200_HIR_GS_BaLo_WA_11lb.npz"),
    "adi-ball": (ADI.format(speed="1200", load="11lb"), None, "adi/1200_HBF_GS_BaLo_WA_11lb.npz"),
}
HEALTHY = {name for name, (_, _, faulty) in MACHINES.items() if faulty is None}
CLEAR = {"cwru-outer": "outer", "cwru-outer-2": "outer", "cwru-inner": "inner", "cwru-inner-2": "inner"}
FAULT_CAPTURES = 8

pytestmark = [pytest.mark.recordings, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def recordings() -> Path:
    folder = os.environ.get("UNDERTONE_RECORDINGS")
    if not folder:
        pytest.skip("UNDERTONE_RECORDINGS names no folder of real recordings: THE MAIN JOB IS NOT TESTED HERE")
    missing = [f for row in MACHINES.values() for f in (row[0], row[2]) if f and not (Path(folder) / f).exists()]
    assert not missing, f"{folder} lacks {missing}"
    return Path(folder)


@pytest.fixture(scope="module")
def plant(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SitePlant]:
    """The plant after everything has been replayed and told to the site."""
    folder = tmp_path_factory.mktemp("plant")
    tables = "\n".join(
        f'[[machines]]\nmachine = "{name}"\n'
        + ('rpm = 1797.0\nbearing = { name = "6205" }\n' if name.startswith("cwru") else "")
        for name in MACHINES
    )
    settings = f"[commissioning]\ncaptures = {BASELINE_CAPTURES}\n{tables}"
    with site_plant(folder, settings="[learning]\nenabled = false\n", gateway_settings=settings) as plant:
        playlist = folder / "playlist.toml"
        playlist.write_text("\n".join(_playlist(name, recordings) for name in MACHINES))
        sim = plant.bundle("sensors") / "sim.toml"
        sim.write_text('site = "north"\ngateway = "gw-1"\n' + (plant.bundle("sensors") / "broker.toml").read_text())
        run("sensor_sim", "replay", "--settings", str(sim), "--playlist", str(playlist))
        wait_until("all captures are stored", lambda: _stored(plant) == _expected())
        wait_until("the outbox is empty", lambda: plant.gateway_status("gw-1")["outbox"]["pending"] == 0)
        yield plant


def _playlist(name: str, recordings: Path) -> str:
    healthy, tested, faulty = MACHINES[name]
    parts = [f'{{ file = "{recordings / healthy}", captures = {BASELINE_CAPTURES} }}']
    if tested:
        parts.append(f'{{ file = "{recordings / healthy}", from_s = {tested[0]}, to_s = {tested[1]} }}')
    if faulty:
        parts.append(f'{{ file = "{recordings / faulty}", captures = {FAULT_CAPTURES} }}')
    return f'[[points]]\npoint = "{name}/de"\ninterval_s = 0.1\nwindow_s = 0.25\nparts = [{", ".join(parts)}]\n'


def _expected() -> int:
    tested = {"cwru-healthy": 10, "adi-healthy": 3, "adi-healthy-2": 3}
    return sum(BASELINE_CAPTURES + tested.get(name, FAULT_CAPTURES) for name in MACHINES)


def _stored(plant: SitePlant) -> int:
    return int(plant.gateway_status("gw-1")["captures"]["stored"])


def _alarms(plant: SitePlant) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with plant.site_database() as database:
        for row in database.execute(sa.select(alarm.c.machine, alarm.c.detail).order_by(alarm.c.sequence)):
            found[row.machine].append(row.detail)
    return dict(found)


def test_every_healthy_machine_stays_without_alarm(plant: SitePlant) -> None:
    alarms = _alarms(plant)
    assert {name: alarms[name] for name in HEALTHY if name in alarms} == {}


def test_every_seeded_bearing_fault_raises_an_alarm_and_opens_one_case(plant: SitePlant) -> None:
    assert set(_alarms(plant)) == set(MACHINES) - HEALTHY
    with plant.site_database() as database:
        cases = database.execute(sa.select(machine_case.c.machine).where(machine_case.c.state != "closed")).scalars()
        assert sorted(cases) == sorted(set(MACHINES) - HEALTHY)


@pytest.mark.parametrize("machine", sorted(CLEAR))
def test_clear_race_faults_are_named_right(plant: SitePlant, machine: str) -> None:
    with plant.site_database() as database:
        rows = database.execute(
            sa.select(health.c.diagnosis).where(health.c.point == f"{machine}/de", health.c.exceeds)
        ).scalars()
        named = [row[0]["label"] for row in rows if row]
    assert len(named) == FAULT_CAPTURES
    assert named.count(CLEAR[machine]) > FAULT_CAPTURES / 2, named
    first = _alarms(plant)[machine][0]
    assert first["diagnosis"][0]["label"] == CLEAR[machine]
    assert first["reason"].startswith("Outer race" if CLEAR[machine] == "outer" else "Inner race")


def test_each_alarm_brings_its_evidence(plant: SitePlant) -> None:
    with plant.site_database() as database:
        points = set(database.execute(sa.select(evidence.c.point)).scalars())
    assert points == {f"{name}/de" for name in set(MACHINES) - HEALTHY}


def test_the_site_holds_exactly_what_the_gateway_computed(plant: SitePlant) -> None:
    with read_only(plant.bundle("gw-1") / "var") as database:
        computed = {
            (row.point, row.boot, row.sequence): json.loads(row.health)
            for row in database.execute(
                sa.select(capture_table.c.point, capture_table.c.boot, capture_table.c.sequence, capture_table.c.health)
            )
        }
    with plant.site_database() as database:
        held = {
            (row["point"], row["capture_boot"], row["capture_sequence"]): row
            for row in database.execute(sa.select(health)).mappings()
        }
    assert set(held) == set(computed)
    for key, told in computed.items():
        row = held[key]
        for name in ("measured_at_us", "quality", "learning", "score", "exceeds", "alarm", "zone", "velocity_rms_mm_s",
                     "acceleration_rms_g", "acceleration_peak_g", "kurtosis", "envelope_rms_g", "rpm", "diagnosis",
                     "model_version"):  # fmt: skip
            assert row[name] == told[name], (key, name)
        assert row["score_limit"] == told["limit"]

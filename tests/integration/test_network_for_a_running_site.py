"""A running site is given another network: real processes on a real broker, gateways installed before it was made.

The gateways run a copy of their packages and nothing else. What comes is a convolutional network that `aggregator fit`
makes of recordings from elsewhere, and one of a family and with a rule that nothing installed has ever heard of. Each
goes through the stages of a rollout; machines are scored and rounds go on by it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import gateway_agent
import schemas
import vibration
from aggregator.release_making import first_release
from schemas.signing import Signer
from schemas.site_tables import gateway, health, learning_round, release, release_event
from tests.support import installed_agent, tomorrow
from tests.support.healthy_pumps import HealthyPumps
from tests.support.learning import CREATED_AT_US
from tests.support.plant import SitePlant, run, site_plant, wait_until
from tests.support.recordings import healthy_noise, write_recording

GATEWAYS = ("gw-1", "gw-2")
CAPTURES_PER_S = 12.0
LATER_S = 90.0
QUICKLY = """[learning]
round_interval_s = 3.0
min_members = 2
steps = 20
[rollout]
shadow_s = 0.5
shadow_windows = 5
canary_s = 0.5
shares = []
share_s = 0.5
answer_s = 10.0
most_auroc_loss = 1.0
most_loss_rise = 10.0
"""
GATEWAY = """
status_interval_s = 0.5
[commissioning]
captures = 12
[[machines]]
machine = "pump-07"
rpm = 1797.0
bearing = { name = "6205" }
"""
pytestmark = pytest.mark.timeout(360)


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[SitePlant]:
    tree = tmp_path / "installed"
    for package in (gateway_agent, schemas, vibration):
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, tree / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    known = "".join(path.read_text() for path in tree.rglob("*.py"))
    assert not any(word in known for word in (*tomorrow.STRANGE_WORDS, "conv_autoencoder"))
    agent = ("-P", str(installed_agent.__file__), str(tree))
    with site_plant(
        tmp_path, gateways=GATEWAYS, settings=QUICKLY, gateway_settings=GATEWAY, agent=agent
    ) as plant:  # fmt: skip
        sensors = HealthyPumps(plant, GATEWAYS, captures_per_s=CAPTURES_PER_S)
        try:
            yield plant
        finally:
            sensors.stop()


def fit_conv(folder: Path) -> Path:
    """What somebody else has learnt from recordings, with the key that `fit` makes for them."""
    recordings = [
        str(write_recording(folder / f"m{number}.npz", healthy_noise(number), machine=f"m{number}"))
        for number in range(3)
    ]
    out = folder / "conv"
    subprocess.run(
        [sys.executable, "-m", "aggregator", "fit", "--captures", *recordings, "--rounds", "2", "--family", "conv",
         "--level", "output_bias=machine", "--out", str(out)],
        env={**os.environ, "XDG_DATA_HOME": str(folder / "somebody")}, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return out


def rows(plant: SitePlant, query: sa.Select[Any]) -> list[Any]:
    plant.check_alive()
    with plant.site_database() as connection:
        return list(connection.execute(query).mappings())


def newest(plant: SitePlant, family: str, *, learnt: bool) -> int:
    """Version of the newest current release of a family, brought in or learnt here on one that was; 0: none."""
    found = rows(plant, sa.select(release.c.release_version, release.c.manifest).where(release.c.state == "current"))
    versions = [
        row["release_version"] for row in found
        if row["manifest"]["family"] == family and (row["manifest"]["merge"].get("round") is not None) == learnt
    ]  # fmt: skip
    return max(versions, default=0)


def all_run(plant: SitePlant, family: str) -> bool:
    """Whether every gateway says it runs a release of a family."""
    of_family = {
        row["release_version"] for row in rows(plant, sa.select(release.c.release_version, release.c.manifest))
        if row["manifest"]["family"] == family
    }  # fmt: skip
    running = [row["release_version"] for row in rows(plant, sa.select(gateway.c.gateway, gateway.c.release_version))]
    return len(running) == len(GATEWAYS) and set(running) <= of_family


def learns_and_scores_by(plant: SitePlant, family: str) -> None:
    """Every gateway runs the family; a round on it makes a release that comes into use; captures are scored by it."""
    wait_until(f"both run {family}", lambda: all_run(plant, family), within_s=LATER_S)
    wait_until(f"a round on {family} is in use", lambda: newest(plant, family, learnt=True), within_s=LATER_S)
    version = newest(plant, family, learnt=True)
    scored = sa.select(health.c.point).where(health.c.model_version >= version, health.c.score.is_not(None)).distinct()
    wait_until(f"both machines are scored by {family}", lambda: len(rows(plant, scored)) == 2, within_s=LATER_S)
    assert all_run(plant, family)


def imported(plant: SitePlant, path: Path, *extra: str) -> int:
    run("aggregator", "release", "import", str(path), *extra, "--settings", str(plant.settings))
    found = rows(plant, sa.select(release_event.c.release_version).where(release_event.c.stage == "imported"))
    return int(found[-1]["release_version"])


def no_round_was_lost(plant: SitePlant) -> None:
    """Once gateways had captures enough, but for those that an import replaced."""
    rounds = rows(plant, sa.select(learning_round).order_by(learning_round.c.round_id))
    first = next(number for number, row in enumerate(rounds) if row["state"] == "released")
    lost = {row["text"] for row in rounds[first:] if row["state"] == "void" and "has replaced" not in row["text"]}
    assert not lost
    for name in (*GATEWAYS, "site"):
        assert "Traceback" not in plant.log(name)


def test_a_running_site_on_the_dense_family_is_given_the_convolutional_one(plant: SitePlant, tmp_path: Path) -> None:
    conv = fit_conv(tmp_path)
    learns_and_scores_by(plant, "dense_autoencoder")
    refused = subprocess.run(
        [sys.executable, "-m", "aggregator", "release", "import", str(conv), "--settings", str(plant.settings)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "not on the list" in refused.stderr
    signer = Signer.load(tmp_path / "somebody" / "undertone" / "fit-signing.key")
    version = imported(plant, conv, "--vouch-for", signer.key_id)
    learns_and_scores_by(plant, "conv_autoencoder")
    stages = [row["stage"] for row in rows(plant, sa.select(release_event).where(
        release_event.c.release_version == version))]  # fmt: skip
    assert stages == ["imported", "shadow", "canary", "everywhere"]
    no_round_was_lost(plant)


@pytest.mark.nightly
def test_a_running_site_is_given_a_family_and_a_rule_that_nothing_installed_has_ever_heard_of(
    plant: SitePlant, tmp_path: Path
) -> None:
    learns_and_scores_by(plant, "dense_autoencoder")
    signer = Signer.generate()
    gated = first_release(tomorrow.GRAPHS, signer, created_at_us=CREATED_AT_US, rule=tomorrow.RULE)
    (tmp_path / "gated.release").write_bytes(gated.bundle())
    imported(plant, tmp_path / "gated.release", "--vouch-for", signer.key_id)
    learns_and_scores_by(plant, "gated_autoencoder")
    no_round_was_lost(plant)

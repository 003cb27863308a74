"""A capture asked for by name, on its way through real processes and a real broker: all axes, or said to be gone."""

import time
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from dashboard.access import Visitor
from dashboard.queries.point import read_arrived, read_many, read_nearest_capture
from dashboard.request_writer import RequestWriter
from schemas.capture import encode_capture
from schemas.database import sqlite_url
from schemas.settings import BrokerSettings, Settings, load_settings
from schemas.signing import Signer
from schemas.site_tables import health, request
from schemas.topics import CAPTURE
from tests.support.brokers import linked
from tests.support.captures import AT_US, POINT, capture_of, noise_g
from tests.support.plant import SitePlant, site_plant, wait_until

pytestmark = pytest.mark.timeout(240)
CAPTURES = [capture_of(noise_g(n, samples=16_384, channels=3), n) for n in range(3)]
TOLD_GONE = "this capture is no longer kept: raw captures leave the gateway by size and age"


class SensorSettings(Settings):
    """What of a sensors' bundle is needed here."""

    broker: BrokerSettings


def ask(plant: SitePlant, writer: RequestWriter, note: str, **capture: int) -> tuple[str, str]:
    """Ask for one capture as a technician does; what became of it."""
    values = {f"capture_{name}": number for name, number in capture.items()}
    request_id = writer.ask(
        "request_evidence", Visitor("anna", "technician"), "pump-07", point=POINT, note=note, values=values
    )

    def answered() -> tuple[str, str] | None:
        with plant.site_database() as database:
            row = database.execute(sa.select(request).where(request.c.request_id == request_id)).one()
        return (row.state, row.answer) if row.state in {"done", "refused"} else None

    found: tuple[str, str] = wait_until(f"{note} is answered", answered, every_s=0.05)
    return found


def test_an_older_capture_comes_with_all_axes_and_one_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    settings = "[desk]\npoll_s = 0.05\n[learning]\nenabled = false\n"
    machines = 'status_interval_s = 0.3\n[[machines]]\nmachine = "pump-07"\nrpm = 1797.0\n'
    with site_plant(tmp_path, settings=settings, gateway_settings=machines) as plant:
        plant.enroll("board", "--as", "dashboard")
        broker = load_settings(SensorSettings, plant.bundle("sensors") / "broker.toml").broker
        topic = CAPTURE.path(site=plant.site, gateway="gw-1", machine="pump-07", position="de")

        def stored() -> int:
            with plant.site_database() as database:
                return database.scalar(sa.select(sa.func.count()).select_from(health)) or 0

        with linked(broker, "sensors") as (link, _):
            for capture in CAPTURES:
                assert link.publish(topic, encode_capture(capture))
            wait_until("the site has the captures", lambda: stored() == len(CAPTURES), every_s=0.05)

        key = Signer.load(plant.bundle("board") / "signing.key")
        url = sqlite_url(tmp_path / "var" / "site.db")
        writer = RequestWriter(url, key, now_us=lambda: time.time_ns() // 1000)
        with plant.site_database() as database:
            named = read_nearest_capture(database, POINT, AT_US + 1_100_000)
        assert named is not None
        assert (named.boot, named.sequence) == (1, 1)
        wait_until(  # it reads its list of keys again every few moments
            "the site knows the new dashboard, and says that an old capture is gone",
            lambda: ask(plant, writer, "and long ago?", boot=1, sequence=77) == ("refused", TOLD_GONE),
        )
        state, answer = ask(plant, writer, "was it there before?", boot=named.boot, sequence=named.sequence)
        assert state == "done", answer

        def arrived() -> object:
            with plant.site_database() as database:
                entries = read_arrived(database, POINT, ["asked for by anna: was it there before?"])
                return read_many(database, entries)

        ((entry, found),) = wait_until("the evidence arrives", arrived, every_s=0.05)  # type: ignore[misc]
        assert (entry.waveform_samples, found.capture_sequence) == (16_384, 1)
        own = found.waveform.unpack()
        np.testing.assert_allclose(own, CAPTURES[1].acceleration_g()[found.axis], rtol=1e-6)
        for other in found.other_axes:
            np.testing.assert_array_equal(other.unpack_g(), CAPTURES[1].acceleration_g()[other.axis])
        assert len(found.other_axes) == 2

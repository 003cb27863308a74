"""The demonstration does what the README says, as separate processes, and leaves none behind.

That its check holds, and what a visitor can do in it, is in `test_demo_browser.py`: one start serves both.
"""

import re
import signal
import stat

import pytest

from aggregator.broker_files import find_mosquitto
from tests.support.demo_run import VisitedPlant, demo, marked_processes


@pytest.mark.timeout(240)
@pytest.mark.nightly
def test_check_holds_on_the_embedded_broker_too(tmp_path):
    with demo(tmp_path, "--check", "--broker", "embedded") as run:
        said = run.wait(230)
    assert run.process.returncode == 0, said


@pytest.mark.timeout(300)
def test_interrupt_stops_everything_in_order_and_the_next_start_goes_on_with_other_ports_where_one_is_taken(tmp_path):
    before, plant = marked_processes(), tmp_path / "plant"
    broker = "mosquitto" if find_mosquitto() else "embedded"
    with demo(tmp_path, "--folder", str(plant), "--broker", broker) as first:
        said = first.wait_for("Ctrl-C stops everything", 150)
        assert re.search(
            r"Look at: +http://127\.0\.0\.1:\d+/ \(site north\) +http://127\.0\.0\.1:\d+/ \(site south\)", said
        )
        assert "pump-02 at site north starts to fail in about" in said
        assert len(marked_processes() - before) >= 17
        with demo(tmp_path, "--folder", str(plant)) as second:
            refused = second.wait(30)
        assert second.process.returncode == 2
        assert "runs in" in refused
        assert VisitedPlant.of(first).ask("me") == {"name": "Emil", "role": "engineer"}
        end = first.stop(signal.SIGINT)
    assert first.process.returncode == 0, end
    assert "none is left" in end
    assert marked_processes() - before == set()
    for secret in ("people.password", "programs.token", "messages/word", "messages/webhook.secret",
                   "messages/north-shift-phone.url"):  # fmt: skip
        assert stat.S_IMODE((plant / secret).stat().st_mode) == 0o600, secret


@pytest.mark.timeout(60)
def test_folder_without_recordings_that_can_be_shown_is_refused_with_one_line(tmp_path):
    with demo(tmp_path, "--recordings", str(tmp_path), "--folder", str(tmp_path / "plant")) as run:
        said = run.wait(30)
    assert run.process.returncode == 2
    assert said.strip().startswith("demo: ")
    assert len(said.strip().splitlines()) == 1

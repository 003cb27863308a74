"""The demonstration does what the README says, as separate processes, and leaves none behind."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aggregator.broker_files import find_mosquitto

ROOT = Path(__file__).resolve().parents[2]
STOPS_WITHIN_S = 60


@contextmanager
def demo(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the demonstration from the checkout, with the packages that are tested; ended at the end, come what may."""
    environment = {key: value for key, value in os.environ.items() if key != "MAKELEVEL"}
    path = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(ROOT)]))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "deploy.demo", *arguments],
        cwd=ROOT, env=environment | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(STOPS_WITHIN_S)
        if process.stdout is not None:
            process.stdout.close()


def read_until(process: subprocess.Popen[str], words: str, within_s: float) -> str:
    """Everything said up to a line with these words."""
    said: list[str] = []
    watchdog = threading.Timer(within_s, process.terminate)
    watchdog.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if words in line:
                return "".join(said)
    finally:
        watchdog.cancel()
    raise AssertionError(f"{words!r} was not said within {within_s:.0f} s:\n{''.join(said)}")


def marked_processes() -> set[int]:
    """Every process on this machine that belongs to a demonstration."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
            if alive and b"DEMO_PLANT_RUN=" in (entry / "environ").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.timeout(240)
def test_check_finds_the_one_failing_machine_and_a_release_learnt_together_on_every_gateway():
    began_s = time.monotonic()
    with demo("--check") as process:
        said = process.communicate(timeout=230)[0]
    assert process.returncode == 0, said
    assert time.monotonic() - began_s < 180
    for promise in (
        "ok: every page answers",
        "ok: the enterprise has merged every site's update into a release",
        "ok: that release, or a later one, runs on every gateway",
        "ok: the alarm is in the site's database: pump-02 at north",
        "ok: no other machine has an alarm",
        "16 processes stopped, none is left",
    ):
        assert promise in said


@pytest.mark.timeout(240)
@pytest.mark.nightly
def test_check_holds_on_the_embedded_broker_too():
    with demo("--check", "--broker", "embedded") as process:
        said = process.communicate(timeout=230)[0]
    assert process.returncode == 0, said


@pytest.mark.timeout(240)
@pytest.mark.recordings
def test_check_holds_on_real_recordings():
    folder = os.environ.get("UNDERTONE_RECORDINGS")
    if not folder:
        pytest.skip("UNDERTONE_RECORDINGS IS NOT SET: the demonstration is not tried on real recordings here")
    with demo("--check", "--recordings", folder) as process:
        said = process.communicate(timeout=230)[0]
    assert process.returncode == 0, said


@pytest.mark.timeout(180)
def test_interrupt_stops_everything_in_order_and_the_next_start_goes_on_with_other_ports_where_one_is_taken(tmp_path):
    before = marked_processes()
    with demo("--folder", str(tmp_path), "--broker", "mosquitto" if find_mosquitto() else "embedded") as first:
        said = read_until(first, "Ctrl-C stops everything", 90)
        assert re.search(r"Site north: http://127\.0\.0\.1:\d+/\?token=\S{20}", said)
        assert "pump-02 at site north starts to fail in about" in said
        assert len(marked_processes() - before) >= 16
        with demo("--folder", str(tmp_path)) as second:
            refused = second.communicate(timeout=30)[0]
        assert second.returncode == 2
        assert "runs in" in refused
        first.send_signal(signal.SIGINT)
        end = first.communicate(timeout=STOPS_WITHIN_S)[0]
    assert first.returncode == 0, end
    assert "none is left" in end
    assert marked_processes() - before == set()


@pytest.mark.timeout(60)
def test_folder_without_recordings_that_can_be_shown_is_refused_with_one_line(tmp_path):
    with demo("--recordings", str(tmp_path), "--folder", str(tmp_path / "plant")) as process:
        said = process.communicate(timeout=30)[0]
    assert process.returncode == 2
    assert said.strip().startswith("demo: ")
    assert len(said.strip().splitlines()) == 1

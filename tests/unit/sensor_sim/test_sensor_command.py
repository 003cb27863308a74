"""The command line does what it is asked, or says in one line why not, and exits with 2."""

import json
from pathlib import Path

import numpy as np
import pytest

from schemas.nameplate import Nameplate, load_nameplate
from schemas.recordings import read_recording
from sensor_sim.command import main
from sensor_sim.nameplates import nameplates_toml
from sensor_sim.preview import seconds_of
from sensor_sim.scenario import load_scenario

DEMO = Path(__file__).parents[3] / "deploy" / "examples" / "scenarios" / "demo-plant.toml"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "sim.toml"
    path.write_text(
        f'site = "north"\ngateway = "gw-1"\nscenario = "{DEMO}"\nseed = 5\n'
        '[gateways]\npump-02 = "gw-2"\n[broker]\nallow_anonymous = true\n'
    )
    return path


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "r.csv"
    path.write_text("".join(f"{np.sin(n / 9.0):.6f}\n" for n in range(400)))
    return path


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.strip().splitlines()
    assert "Traceback" not in said.err
    return lines[0]


def test_check_settings_shows_them_and_the_scenario_and_leaves(settings, capsys):
    assert main(["run", "--settings", str(settings), "--check-settings"]) == 0
    said = capsys.readouterr().out
    assert '"seed": 5' in said
    assert "pump-02, 1500 rpm" in said
    assert "outer from 100 s" in said


def test_variables_of_the_scenario_are_set_on_the_command_line_or_in_the_environment(settings, capsys, monkeypatch):
    arguments = ["run", "--settings", str(settings), "--check-settings"]
    main([*arguments, "--set", "margin_s=70"])
    assert "outer from 150 s" in capsys.readouterr().out
    monkeypatch.setenv("UNDERTONE_VARIABLES__MARGIN_S", "90")
    main(arguments)
    assert "outer from 170 s" in capsys.readouterr().out
    assert "no variable" in refusal(capsys, *arguments, "--set", "marginal=1")
    assert "NAME=NUMBER" in refusal(capsys, *arguments, "--set", "margin_s")


def test_settings_with_a_mistake_are_refused(settings, capsys):
    settings.write_text(settings.read_text().replace("seed = 5", "sead = 5"))
    assert main(["run", "--settings", str(settings)]) == 2
    assert "sead" in capsys.readouterr().err


def test_settings_that_are_not_there_are_refused(tmp_path, capsys):
    assert "is not there" in refusal(capsys, "run", "--settings", str(tmp_path / "none.toml"))


def test_run_without_a_scenario_says_so(settings, capsys):
    settings.write_text(settings.read_text().replace("scenario =", "#"))
    assert "name no scenario" in refusal(capsys, "run", "--settings", str(settings))


def test_scenario_check_says_what_is_in_it_or_what_is_wrong(tmp_path, capsys):
    assert main(["scenario", "check", str(DEMO)]) == 0
    assert "6 machines" in capsys.readouterr().out
    (tmp_path / "bad.toml").write_text("machines = []")
    assert "bad.toml" in refusal(capsys, "scenario", "check", str(tmp_path / "bad.toml"))


def test_nameplates_are_printed_as_a_gateway_reads_them(capsys, tmp_path):
    assert main(["scenario", "nameplates", str(DEMO), "--machines", "gearbox-01"]) == 0
    text = capsys.readouterr().out.replace("[[machines]]\n", "").replace("[machines.bearing]", "[bearing]")
    (tmp_path / "plate.toml").write_text(text)
    assert load_nameplate(tmp_path / "plate.toml") == load_scenario(DEMO).machine("gearbox-01").nameplate


def test_a_nameplate_that_says_nothing_is_still_a_table():
    assert nameplates_toml([Nameplate()]) == '[[machines]]\nmachine = "machine"\n'


def test_preview_tells_orders_and_writes_a_recording_that_can_be_read(tmp_path, capsys):
    out = tmp_path / "p.npz"
    arguments = ["preview", str(DEMO), "--machine", "pump-02", "--at", "3m", "--captures", "2", "--out", str(out)]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "BPFO 3.585x" in said
    assert "outer: severity 1.000" in said
    recording = read_recording(out)
    assert recording.counts.shape == (2, 3, 16384)
    assert recording.rpm == pytest.approx(1475.0, abs=5.0)
    assert str(np.load(out)["label"]) == "outer"


def test_preview_of_a_machine_that_is_not_there_lists_those_that_are(capsys):
    assert "pump-01" in refusal(capsys, "preview", str(DEMO), "--machine", "pump-99")


@pytest.mark.parametrize(("text", "seconds"), [("90", 90.0), ("15m", 900.0), ("2.5h", 9000.0), ("3d", 259_200.0)])
def test_times_have_units(text, seconds):
    assert seconds_of(text) == seconds


def test_a_time_without_sense_is_refused(capsys):
    assert "3d" in refusal(capsys, "preview", str(DEMO), "--machine", "pump-01", "--at", "soon")


def test_a_recording_without_a_sampling_rate_exits_with_the_next_step(settings, csv, capsys):
    said = refusal(capsys, "replay", str(csv), "--settings", str(settings), "--point", "m/de", "--scale-g", "1")
    assert "a recording without a sampling rate" in said
    assert "--rate-hz" in said


def test_replay_checks_all_recordings_before_it_connects(settings, csv, capsys):
    arguments = ["replay", f"{csv}:0.5-3.5", "--settings", str(settings), "--point", "m/de", "--scale-g", "1"]
    options = ["--rate-hz", "100", "--samples", "50", "--check-settings"]
    assert main([*arguments, *options]) == 0
    assert "m/de: 6 captures" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to replay"),
        (("a.npz",), "nothing to replay"),
        (("a.npz", "--playlist", "b.toml"), "give one of them"),
        (("--playlist", "none.toml"), "cannot be read"),
        (("a.npz", "--point", "Bad Name"), "point"),
        (("a.npz", "--point", "m/de", "--rate-hz", "-3"), "rate_hz"),
        (("gone.npz", "--point", "m/de"), "gone.npz"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused(settings, capsys, arguments, said):
    assert said in refusal(capsys, "replay", "--settings", str(settings), *arguments)


def test_client_is_known_by_its_username(settings):
    from schemas.settings import load_settings
    from sensor_sim.settings import SimulatorSettings

    loaded = load_settings(SimulatorSettings, settings, {})
    assert loaded.client == "sensors-north"
    named = json.loads(loaded.model_dump_json()) | {"client_id": "sim-7"}
    assert SimulatorSettings.model_validate(named).client == "sim-7"

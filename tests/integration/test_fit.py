"""`aggregator fit` and `gateway-agent backtest` as people call them: the contract of the command line."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aggregator.command import main
from aggregator.fit import FitOptions
from aggregator.fit import fit as learn
from aggregator.foundry.families import family_named
from schemas.release import PARAMETERS, TRAIN_STEP, read_release_folder
from schemas.signing import KeyRing, Signer
from tests.support import tomorrow
from tests.support.recordings import healthy_noise, write_recording


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    return [
        write_recording(tmp_path / f"m{number}.npz", healthy_noise(number), machine=f"m{number}") for number in range(3)
    ]


def fit(tmp_path: Path, *arguments: str, out: str = "release") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aggregator", "fit", *arguments, "--out", str(tmp_path / out)],
        capture_output=True, text=True, check=False, env={"XDG_DATA_HOME": str(tmp_path / "xdg"), "PATH": ""},
    )  # fmt: skip


def test_a_release_is_learnt_signed_and_used_by_a_back_test(tmp_path: Path, recordings: list[Path]) -> None:
    done = fit(tmp_path, "--captures", *map(str, recordings), "--client-by", "machine", "--rounds", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    release = read_release_folder(tmp_path / "release", KeyRing([]))
    assert release.manifest.data["clients"] == 3
    out = tmp_path / "results.jsonl"
    judged = subprocess.run(
        [sys.executable, "-m", "gateway_agent", "backtest", "--release", str(tmp_path / "release"),
         "--commission", f"{recordings[0]}:0-2", "--captures", f"{recordings[0]}:2-4", "--out", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr
    assert judged.stdout == ""
    assert "not on the list" in judged.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["window"] for line in lines] == list(range(8))
    assert all(np.isfinite(line["score"]) for line in lines)


def test_the_same_seed_learns_the_same_parameters(tmp_path: Path, recordings: list[Path]) -> None:
    arguments = ("--captures", *map(str, recordings), "--client-by", "recording", "--rounds", "2", "--seed", "7")
    for out in ("one", "two"):
        done = fit(tmp_path, *arguments, out=out)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "one" / PARAMETERS).read_bytes() == (tmp_path / "two" / PARAMETERS).read_bytes()


def test_a_changed_release_is_refused_by_the_back_test(tmp_path: Path, recordings: list[Path]) -> None:
    assert fit(tmp_path, "--captures", str(recordings[0]), "--rounds", "1").returncode == 0
    parameters = tmp_path / "release" / PARAMETERS
    parameters.write_bytes(parameters.read_bytes()[:-4] + b"\0\0\0\0")
    done = subprocess.run(
        [sys.executable, "-m", "gateway_agent", "backtest", "--release", str(tmp_path / "release"), "--captures",
         str(recordings[0]), "--out", str(tmp_path / "results.jsonl")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "parameters.bin" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "results.jsonl").exists()


def test_one_bad_file_among_many_ends_with_its_name_and_no_release(tmp_path: Path, recordings: list[Path]) -> None:
    bad = write_recording(tmp_path / "norate.npz", healthy_noise(9), fs=None)
    done = fit(tmp_path, "--captures", *map(str, recordings), str(bad))
    assert done.returncode == 2
    assert "norate.npz" in done.stderr.splitlines()[-1]
    assert "sampling rate" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "release").exists()


def test_a_list_of_files_stands_for_its_lines(tmp_path: Path, recordings: list[Path]) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(map(str, recordings)))
    done = fit(tmp_path, "--captures", f"@{listed}", "--client-by", "condition", "--rounds", "1")
    assert done.returncode == 0, done.stderr


def test_another_network_rule_and_levels_are_learnt_and_stand_in_the_release(
    tmp_path: Path, recordings: list[Path]
) -> None:
    done = fit(
        tmp_path, "--captures", *map(str, recordings), "--rounds", "2", "--family", "conv", "--rule", "ditto_step",
        "--level", "output=site", "--level", "output_bias=machine",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    release = read_release_folder(tmp_path / "release", KeyRing([]))
    spec = release.spec()
    assert release.manifest.family == "conv_autoencoder"
    assert release.manifest.levels == {"output": "site", "output_bias": "machine"}
    assert release.manifest.files[TRAIN_STEP].sha256 == spec["graphs"]["ditto_step"]["sha256"]
    bias = next(row for row in spec["parameters"] if row["name"] == "output_bias")
    weight = next(row for row in spec["parameters"] if row["name"] == "output_weight")
    started = family_named("conv_autoencoder", 48).initial_theta(0)
    theta = release.parameters()
    assert (theta[bias["offset"] :] == started[bias["offset"] :]).all(), "merged nowhere"
    assert (theta[weight["offset"] : bias["offset"]] != started[weight["offset"] : bias["offset"]]).any()


def test_a_network_nobody_here_knows_is_learnt_from_its_folder(tmp_path: Path, recordings: list[Path]) -> None:
    options = FitOptions("machine", 0.25, 0, 3, tomorrow.GRAPHS, tomorrow.RULE)
    learnt = learn([str(path) for path in recordings], [], options, Signer.generate())
    assert learnt.manifest.family == "gated_autoencoder"
    assert learnt.manifest.metrics["loss_after"] < learnt.manifest.metrics["loss_before"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rule", "no_step"], "known: adam_prox_step"), (["--level", "output"], "--level output found"),
        (["--level", "output=plant"], "PART=fleet|site|machine"), (["--level", "attic=site"], "levels name ['attic']"),
        (["--graphs", "/none"], "cannot read /none/spec.json"), (["--family", "conv", "--graphs", "."], "not allowed"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_is_one_line(
    tmp_path: Path, recordings: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    words: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    with contextlib.suppress(SystemExit):  # argparse leaves by itself
        assert main(["fit", "--captures", str(recordings[0]), *words, "--out", str(tmp_path / "release")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "release").exists()

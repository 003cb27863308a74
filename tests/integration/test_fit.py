"""`aggregator fit` and `gateway-agent backtest` as people call them: the contract of the command line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from schemas.release import PARAMETERS, read_release_folder
from schemas.signing import KeyRing
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

"""`python -m benchmarks.verdicts` on a small folder: the product is really asked, and what is missing is said."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.verdicts.__main__ import BAD_INPUT, main
from benchmarks.verdicts.errors import ProductRefused
from benchmarks.verdicts.product import Product
from benchmarks.verdicts.protocols import PROTOCOLS
from benchmarks.verdicts.recordings import Part, read_head
from tests.support.recordings import healthy_noise, write_recording

SPEEDS_RPM = (600.0, 900.0, 1200.0, 1500.0)
SAMPLES = 8192 * 2  # eight windows of a quarter of a second


@pytest.fixture(autouse=True)
def own_signing_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four speeds, each with a healthy recording and an obvious fault."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for seed, rpm in enumerate(SPEEDS_RPM):
        healthy = healthy_noise(seed, samples=SAMPLES)
        write_recording(folder / f"healthy-{rpm:g}.npz", healthy, rpm=rpm)
        faulty = healthy_noise(seed + 10, samples=SAMPLES)
        faulty[:, :, ::512] += 8000
        write_recording(folder / f"inner-{rpm:g}.npz", faulty, rpm=rpm, label="inner")
    return folder


def test_a_folder_of_one_data_set_runs_what_it_can_and_says_what_is_missing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(folder), "--quick", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    protocols = {protocol["name"]: protocol for protocol in results["protocols"]}
    assert list(protocols) == list(PROTOCOLS)
    missing = {name for name, protocol in protocols.items() if protocol["missing"] == "not in folder"}
    assert missing == set(PROTOCOLS) - {"conditions"}
    assert printed.count("not in folder") == len(PROTOCOLS) - 1
    (asked,) = protocols["conditions"]["data"]["Undertone"]
    assert (asked["healthy"], asked["faulty"]) == (3, 8)
    best = protocols["conditions"]["data"]["Mahalanobis, 32 log bands (fleet)"][0]
    assert (best["healthy"], best["detected"]) == (3, 8)
    written = (out / "verdicts.md").read_text()
    assert "python -m benchmarks.verdicts DATA_FOLDER --quick" in written
    assert str(tmp_path) not in written + json.dumps(results)
    assert written.count("|") == printed.count("|")


def test_a_folder_without_recordings_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == BAD_INPUT
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip().endswith("no recording (*.npz) found")


def test_what_the_product_refuses_is_repeated_with_the_file(folder: Path, tmp_path: Path) -> None:
    product = Product(tmp_path, lambda _text: None)
    commission = read_head(folder / "healthy-600.npz")
    other = write_recording(tmp_path / "other-rate.npz", healthy_noise(3, samples=SAMPLES), rate_hz=4096.0)
    with pytest.raises(ProductRefused, match="other-rate"):
        product.verdicts([Part(read_head(other))], release=None, commission=[Part(commission)], window_s=0.25)


def test_the_product_answers_for_every_window_of_every_file_in_order(folder: Path, tmp_path: Path) -> None:
    product = Product(tmp_path, lambda _text: None)
    heads = [read_head(folder / name) for name in ("inner-600.npz", "healthy-600.npz", "inner-600.npz")]
    answers = product.verdicts([Part(head) for head in heads], release=None, commission=[], window_s=0.25)
    assert [[verdict.at_s for verdict in answer] for answer in answers] == [list(np.arange(8) * 0.25)] * 3


def bearing_files(folder: Path) -> None:
    """Two sizes of damage in one bearing, and one bearing of other geometry; noise, so nobody can name it."""
    for seed, (label, severity) in enumerate((label, size) for label in ("inner", "outer", "ball") for size in (7, 14)):
        write_recording(
            folder / f"{label}-{severity}.npz", healthy_noise(seed, samples=SAMPLES), label=label, dataset="cwru",
            bearing="drive end 6205", severity=float(severity), rpm=1797.0, load=1.0,
        )  # fmt: skip
    write_recording(
        folder / "other.npz", healthy_noise(9, samples=SAMPLES), label="inner", dataset="cwru", bearing="fan end",
        mult=np.array([3.053, 4.947, 1.994, 0.382]), severity=7.0, rpm=1797.0, load=1.0,
    )  # fmt: skip


def lives(folder: Path) -> None:
    """Three lives of 40 snapshots; of one the official cut is known."""
    for seed in range(3):
        x = healthy_noise(seed, snapshots=40, samples=1024)
        x[30:] *= 4
        cut = {"n_observed": 30, "rul_true_s": 290.0} if seed == 0 else {}
        write_recording(folder / f"life-{seed}.npz", x, label="run_to_failure", dataset="pronostia", **cut)


def test_every_protocol_runs_when_its_data_is_there(folder: Path, tmp_path: Path) -> None:
    bearing_files(folder)
    lives(folder)
    for seed, rpm in enumerate(SPEEDS_RPM[:2]):
        more = {"dataset": "adi", "machine": "rig", "rpm": rpm}
        write_recording(folder / f"adi-{seed}.npz", healthy_noise(seed, samples=SAMPLES), **more)
        for label in ("inner", "imbalance"):
            x = healthy_noise(seed + 5, samples=SAMPLES)
            write_recording(folder / f"adi-{seed}-{label}.npz", x, label=label, **more)
    for step in ("low", "high"):
        for coins, label in enumerate(("healthy", "imbalance")):
            x = healthy_noise(coins, snapshots=12, samples=200)
            write_recording(
                folder / f"fan_0_{step}_{coins}_weight.npz", x, rate_hz=200.0, rpm=np.nan, label=label, dataset="fan"
            )
    out = tmp_path / "out"
    assert main([str(folder), "--quick", "--out", str(out)]) == 0
    protocols = {p["name"]: p for p in json.loads((out / "results.json").read_text())["protocols"]}
    assert {name for name, protocol in protocols.items() if protocol["missing"]} == set()
    assert protocols["session"]["data"]["Undertone"][0]["healthy"] == 7
    assert protocols["blocked"]["data"]["Undertone"][0]["healthy"] == 4
    assert [life["life"] for life in protocols["lives"]["data"]["Undertone"]] == ["life-0", "life-1"]
    assert protocols["bearings"]["data"]["size_0.25"]["Undertone"]["windows"] == 6 * 8
    assert protocols["bearings"]["data"]["geometry_0.25"]["Undertone"]["windows"] == 8
    assert protocols["states"]["data"]["0.25"]["random forest"]["windows"] == 2 * (3 + 8 + 8)
    official = {e["method"]: e for e in protocols["remaining-life"]["data"]["official"]}
    assert official["as long again"]["seen"] == 30
    assert official["as long again"]["points"] == 1.0  # 290 s seen, 290 s to go

"""What `aggregator foundry` says and how it leaves, with and without JAX."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aggregator.foundry import command, golden
from aggregator.foundry.artefacts import BUILT, BuiltSpec, sha256_of

SHIPPED = BUILT / "dense_autoencoder_48"


def foundry(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="aggregator")
    command.add_arguments(parser.add_subparsers())
    return command.run(parser.parse_args(["foundry", *words]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(SHIPPED, tmp_path / "copy")


def rewrite_spec(folder: Path, change: Callable[[BuiltSpec], BuiltSpec]) -> None:
    (folder / "spec.json").write_bytes(change(BuiltSpec.load(folder)).to_bytes())


def test_list_names_families_and_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert foundry("list") == 0
    said = capsys.readouterr().out
    assert "family dense_autoencoder" in said
    assert "built dense_autoencoder_48: 48 features, 3704 parameters" in said
    assert "adam_prox_step: one Adam step" in said
    assert "settings learning_rate 0.5 (0 to 10), clip 1 (0 to 100), sigma 0 (0 to 100)" in said
    assert "operators Div Gemm Mul ReduceSum Reshape Split Sub Tanh" in said


def test_verify_without_a_folder_checks_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    assert foundry("verify") == 0
    assert capsys.readouterr().out.count("holds") == sum(
        len(BuiltSpec.load(folder).graphs) for folder in command.shipped()
    )


def test_verify_works_where_jax_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    assert foundry("verify", str(SHIPPED)) == 0


@pytest.mark.parametrize("package", ["jax", "onnx"])
def test_build_without_the_extra_says_in_one_line_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.startswith("aggregator.foundry.")]:
        if name.split(".")[2] in {"build", "golden_cases", "rules", "exporter"}:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert foundry("build", "--out", str(tmp_path / "new")) == 2
    said = capsys.readouterr()
    assert not said.out
    assert len(said.err.splitlines()) == 1
    assert "pip install 'undertone[foundry]'" in said.err
    assert not (tmp_path / "new").exists()


def test_build_of_no_features_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert foundry("build", "--features", "0") == 2
    assert "--features is 0, at least 1" in capsys.readouterr().err


def flip_a_bit(folder: Path) -> None:
    path = folder / "adam_prox_step.onnx"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)


def drop_a_graph(folder: Path) -> None:
    (folder / "score.onnx").unlink()


def unreadable_spec(folder: Path) -> None:
    (folder / "spec.json").write_text('{"family": "dense_autoencoder"}')


def leave_the_folder(folder: Path) -> None:
    text = (folder / "spec.json").read_text().replace('"score.onnx"', '"../score.onnx"')
    (folder / "spec.json").write_text(text)


def replace_golden(folder: Path, content: bytes) -> None:
    (folder / "golden.npz").write_bytes(content)
    rewrite_spec(
        folder,
        lambda spec: spec.model_copy(update={"golden": spec.golden.model_copy(update={"sha256": sha256_of(content)})}),
    )


def damaged_golden(folder: Path) -> None:
    replace_golden(folder, (folder / "golden.npz").read_bytes()[:5000])


def other_golden(folder: Path) -> None:
    graphs = golden.from_bytes((folder / "golden.npz").read_bytes(), 10)
    graphs["ditto_step"].outputs["theta_next"][4, 100] += 0.1
    replace_golden(folder, golden.to_bytes(graphs))


def fewer_golden(folder: Path) -> None:
    graphs = golden.from_bytes((folder / "golden.npz").read_bytes(), 10)
    graphs["score"].outputs["score"] = graphs["score"].outputs["score"][:5]
    replace_golden(folder, golden.to_bytes(graphs))


def golden_for_other_graphs(folder: Path) -> None:
    graphs = golden.from_bytes((folder / "golden.npz").read_bytes(), 10)
    graphs.pop("score")
    replace_golden(folder, golden.to_bytes(graphs))


def golden_without_an_output(folder: Path) -> None:
    graphs = golden.from_bytes((folder / "golden.npz").read_bytes(), 10)
    graphs["score"].outputs.pop("score")
    replace_golden(folder, golden.to_bytes(graphs))


def golden_of_another_width(folder: Path) -> None:
    graphs = golden.from_bytes((folder / "golden.npz").read_bytes(), 10)
    graphs["score"].inputs["x"] = graphs["score"].inputs["x"][:, :, :40]
    replace_golden(folder, golden.to_bytes(graphs))


def replace_graph(folder: Path, content: bytes) -> None:
    (folder / "score.onnx").write_bytes(content)
    rewrite_spec(
        folder,
        lambda spec: spec.model_copy(
            update={
                "graphs": spec.graphs
                | {"score": spec.graphs["score"].model_copy(update={"sha256": sha256_of(content)})}
            }
        ),
    )


def no_model(folder: Path) -> None:
    replace_graph(folder, b"\x08\x09 not a model")


def another_graph(folder: Path) -> None:
    replace_graph(folder, (folder / "ditto_step.onnx").read_bytes())


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_a_bit, r"adam_prox_step\.onnx has digest"),
        (drop_a_graph, r"cannot read .*score\.onnx"),
        (unreadable_spec, r"spec\.json: features: Field required"),
        (leave_the_folder, r"spec\.json: graphs\.score\.file: String should match"),
        (damaged_golden, "golden vectors cannot be read"),
        (other_golden, r"ditto_step\.onnx: output theta_next is off by"),
        (fewer_golden, "golden vectors of score are not 10 cases"),
        (golden_for_other_graphs, "golden vectors for adam_prox_step, .*, adam_prox_step, .*, score expected"),
        (golden_without_an_output, "golden vectors of score do not fit"),
        (golden_of_another_width, r"score\.onnx: .*INVALID_ARGUMENT"),
        (no_model, r"score\.onnx: model has"),
        (another_graph, r"score\.onnx has operators"),
    ],
)
def test_verify_refuses_a_damaged_folder_in_one_line(
    damage: Callable[[Path], None], reason: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder)
    assert foundry("verify", str(folder)) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert re.search(reason, said), said


def test_verify_of_a_missing_folder_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert foundry("verify", str(tmp_path / "nothing")) == 2
    assert "cannot read" in capsys.readouterr().err


def test_output_that_is_not_a_number_is_infinitely_wrong() -> None:
    assert golden.relative_error(np.array([np.nan]), np.array([1.0])) == np.inf
    assert golden.relative_error(np.array([0.0]), np.array([0.0])) == 0

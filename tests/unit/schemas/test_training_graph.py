"""What a release says of its training graph is taken by the word, or refused with the word that is wrong."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from schemas.errors import ReleaseRejected
from schemas.training_graph import TrainingGraph, check_roles, read_training_graph

DIGEST = "d" * 64
PULL = {"name": "pull", "default": 0.1, "lowest": 0.0, "highest": 10.0}


def row() -> dict[str, Any]:
    """A rule with one of everything."""
    vector = ("parameters", "anchor", "personal", "teacher", "noise")
    inputs: list[dict[str, Any]] = [{"name": role, "shape": [20], "role": role} for role in vector]
    inputs += [
        {"name": "velocity", "shape": [20], "role": "state"},
        {"name": "count", "shape": [], "role": "state"},
        {"name": "mask", "shape": [20], "role": "mask", "levels": ["site", "machine"]},
        {"name": "pull", "shape": [], "role": "setting", "setting": PULL},
        {"name": "x", "shape": [8, 5], "role": "samples"},
        {"name": "weight", "shape": [8], "role": "weights"},
        {"name": "x_query", "shape": [4, 5], "role": "second_samples"},
        {"name": "weight_query", "shape": [4], "role": "second_weights"},
    ]
    next_values = {f"{name}_next": name for name in ("parameters", "personal", "velocity", "count")}
    outputs = [{"name": name} for name in (*next_values, "loss", "norm")]
    return {"sha256": DIGEST, "inputs": inputs, "outputs": outputs, "next_values": next_values}


def read(changed: dict[str, Any]) -> TrainingGraph:
    return read_training_graph(json.dumps({"graphs": {"other": {"sha256": "e"}, "step": changed}}).encode(), DIGEST)


def named(changed: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in changed["inputs"] if each["name"] == name)
    return found


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda changed: changed["inputs"].remove(named(changed, name))


def with_value(name: str, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda changed: named(changed, name).update(values)


def twice(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda changed: changed["inputs"].append({**named(changed, name), "name": f"{name}_again"})


def test_a_rule_with_one_of_every_role_is_read() -> None:
    graph = read(row())
    assert graph.batches == (("x", "weight", 8), ("x_query", "weight_query", 4))
    assert graph.settings["pull"].highest == 10.0
    assert graph.reports == ("loss", "norm")
    check_roles(graph, parameters=20, features=5)


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str, str]] = {
    "a role of tomorrow": (with_value("noise", role="dream"), "unknown_role", r"\{'noise': 'dream'\}.*update this"),
    "no role": (lambda changed: named(changed, "noise").pop("role"), "unknown_role", "'noise': 'None'"),
    "no parameters": (without("parameters"), "bad_spec", "one each of"),
    "no weights": (without("weight"), "bad_spec", "one each of"),
    "two personal models": (twice("personal"), "bad_spec", "at most one of the others"),
    "two settings of one name": (twice("pull"), "bad_spec", "two settings have one name"),
    "a second batch without weights": (without("weight_query"), "bad_spec", "needs both"),
    "a setting without limits": (with_value("pull", setting={"name": "pull", "default": 1}), "bad_spec", "lowest"),
    "a default beyond its limit": (
        with_value("pull", setting={**PULL, "default": 11.0}), "bad_spec", "has default 11.0, 0.0 to 10.0 allowed",
    ),
    "a setting that is none": (with_value("pull", setting=None), "bad_spec", "pull is a setting"),
    "levels for what is no mask": (with_value("noise", levels=["site"]), "bad_spec", "noise is a noise; a mask"),
    "a mask without levels": (with_value("mask", levels=None), "bad_spec", "mask is a mask"),
    "a mask of unknown levels": (with_value("mask", levels=["planet"]), "bad_spec", "'fleet', 'site' or 'machine'"),
    "a state that is lost": (lambda changed: changed["next_values"].pop("count_next"), "bad_spec", "next_values"),
    "an anchor that is carried on": (
        lambda changed: changed["next_values"].update(norm="anchor"), "bad_spec", "and no other",
    ),
    "an output that is not there": (
        lambda changed: changed["outputs"].remove({"name": "count_next"}), "bad_spec", "next_values",
    ),
    "no loss": (lambda changed: changed["outputs"].remove({"name": "loss"}), "bad_spec", "lack loss"),
    "two outputs of one name": (lambda changed: changed["outputs"].append({"name": "norm"}), "bad_spec", "one name"),
    "a shape without numbers": (with_value("x", shape=["N", 5]), "bad_spec", "valid integer"),
    "a shape of nothing": (with_value("x", shape=[0, 5]), "bad_spec", "greater than or equal to 1"),
    "more than one says": (with_value("noise", sigma=1.0), "bad_spec", "Extra inputs"),
    "inputs that are a number": (lambda changed: changed.update(inputs=3), "bad_spec", "cannot be read"),
    "another graph's row": (lambda changed: changed.update(sha256="f" * 64), "bad_spec", "describes no graph"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_fed_is_refused_with_its_reason(what: str) -> None:
    change, reason, text = BAD[what]
    changed = row()
    change(changed)
    with pytest.raises(ReleaseRejected, match=text) as caught:
        read(changed)
    assert caught.value.reason == reason


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "an anchor of another length": with_value("anchor", shape=[21]),
    "a mask of two dimensions": with_value("mask", shape=[4, 5]),
    "samples of another width": with_value("x", shape=[8, 6]),
    "samples of another batch than their weights": with_value("x", shape=[9, 5]),
    "a second batch of another width": with_value("x_query", shape=[4, 6]),
    "weights of two dimensions": with_value("weight", shape=[8, 1]),
    "weights of none": with_value("weight", shape=[]),
    "a setting that is a vector": with_value("pull", shape=[2]),
    "a state to keep rows in": with_value("velocity", shape=[1000, 5]),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_shape_that_its_role_cannot_have_is_refused(what: str) -> None:
    changed = row()
    WRONG[what](changed)
    with pytest.raises(ReleaseRejected, match="cannot be") as caught:
        check_roles(read(changed), parameters=20, features=5)
    assert caught.value.reason == "wrong_role"

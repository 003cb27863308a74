"""The same apps over Flower's own engines, its SuperLink and its simulation, merge to what our carriers merge to.

Bit for bit: every carrier hands the arrays over as bytes, and updates are merged in the order of their names.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aggregator.carriers.local import LocalCarrier
from aggregator.carriers.superlink import write_app
from benchmarks.stock_flower import flower_plant
from tests.support.fleet import FIRST, MEMBERS, make, rounds_over
from tests.support.learning import wait_until

nightly = pytest.mark.nightly
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="RAY IS NOT INSTALLED: Flower's simulation is not tested; pip install 'undertone[simulation]'",
)


def in_one_process() -> list[np.ndarray]:
    results = rounds_over(LocalCarrier({name: make(name) for name in MEMBERS}))
    assert [result.void for result in results] == ["", ""]
    merged = [result.theta for result in results if result.theta is not None]
    assert not np.array_equal(merged[0], FIRST.parameters())
    return merged


def assert_merged(out: Path, expected: list[np.ndarray]) -> None:
    with np.load(out) as found:
        for one, reference in zip(found.values(), expected, strict=True):
            np.testing.assert_array_equal(one, reference)


@nightly
@pytest.mark.timeout(360)
def test_stock_superlink_and_supernodes_merge_to_the_same_parameters_as_one_process(tmp_path: Path) -> None:
    expected = in_one_process()
    out = tmp_path / "merged.npz"
    app = write_app(
        tmp_path / "app", server="tests.support.fleet:server", client="tests.support.fleet:client", config={"out": ""}
    )
    with flower_plant(MEMBERS) as plant:
        plant.run(app, {"out": str(out)})
        assert wait_until(out.exists, 240), plant.log_of("superlink")
    assert_merged(out, expected)


@nightly
@needs_ray
@pytest.mark.timeout(300)
def test_the_simulation_on_ray_merges_to_the_same_parameters_as_one_process(tmp_path: Path) -> None:
    out = tmp_path / "merged.npz"
    command = [sys.executable, "-m", "tests.support.fleet", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert_merged(out, in_one_process())


@nightly
@pytest.mark.timeout(300)
def test_a_supernode_whose_key_was_not_registered_is_not_let_in() -> None:
    with flower_plant() as plant:
        plant.start_node("gw-9", registered=False)
        refused = plant.processes["gw-9"]
        assert wait_until(lambda: refused.poll() is not None or "denied" in plant.log_of("gw-9"), 60), plant.log_of(
            "gw-9"
        )
        assert "Activated" not in plant.log_of("superlink")

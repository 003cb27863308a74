"""A network and a learning rule that nobody had thought of when the gateways were installed.

The gateways run first, as processes of their own, from a copy of their packages and nothing else. Only then are a new
family and a new rule written (below), built into a release, taken up, trained, merged and scored.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from flwr.app import Context, Message

pytest.importorskip("jax", reason="the extra foundry (jax) is not installed: no new architecture can be made here")

import jax
import jax.numpy as jnp

import gateway_agent
import schemas
import vibration
from aggregator.foundry.build import build_family
from aggregator.foundry.golden_cases import double_precision
from aggregator.foundry.parameters import ParameterSpec
from aggregator.foundry.rules.descent import weighted_loss
from aggregator.foundry.rules.rule import Kind, LearningRule, Setting, rate
from aggregator.learning.local import run_local_rounds
from aggregator.learning.strategy import Plan
from aggregator.registry import first_release, next_release
from schemas.flower_codec import ClientCall, dump_message, load_message
from schemas.release import MANIFEST, SIGNATURE, SPEC, TRAIN_STEP, Release, make_release
from schemas.signing import Signer
from tests.support import installed_gateway
from tests.support.learning import CREATED_AT_US, Rows, healthy_rows

SITE = Signer.generate()
COUNT = 2


class InstalledGateway:
    """Talks to the process of `tests.support.installed_gateway`."""

    def __init__(self, tree: Path, folder: Path, rows: Rows) -> None:
        folder.mkdir()
        np.save(folder / "rows.npy", rows)
        script = str(Path(installed_gateway.__file__))
        self._process = subprocess.Popen(
            [sys.executable, "-P", script, str(tree), str(folder), SITE.public.hex()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def tell(self, kind: bytes, content: bytes = b"") -> bytes:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(installed_gateway.FRAME.pack(kind, len(content)) + content)
        stdin.flush()
        _, size = installed_gateway.FRAME.unpack(stdout.read(installed_gateway.FRAME.size))
        said: bytes = stdout.read(size)
        return said

    def offer(self, release: Release) -> tuple[int, str]:
        version, problem = json.loads(self.tell(b"R", release.bundle()))
        return version, problem

    def app(self) -> ClientCall:
        def ask(message: Message, context: Context) -> Message:
            del context
            return load_message(self.tell(b"M", dump_message(message)))

        return ask

    def score(self, rows: Rows) -> Rows:
        return np.frombuffer(self.tell(b"S", rows.tobytes()), "<f4")

    def stop(self) -> None:
        self._process.communicate(timeout=20)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of a gateway, and nothing else."""
    tree = tmp_path_factory.mktemp("gateway") / "installed"
    for package in (gateway_agent, schemas, vibration):
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, tree / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    return tree


@pytest.fixture(scope="module")
def gateways(installed: Path) -> Iterator[list[InstalledGateway]]:
    """Running, each with a machine of its own, before anything below is made."""
    found = [
        InstalledGateway(installed, installed.parent / f"gw-{number}", healthy_rows(number)) for number in range(COUNT)
    ]
    yield found
    for gateway in found:
        gateway.stop()


@dataclass(frozen=True)
class GatedAutoencoder:
    """F -> 12 -> F, where each hidden value passes a gate of its own: no layer of any family of the product."""

    name: ClassVar[str] = "gated_autoencoder"
    features: int

    @property
    def parameters(self) -> ParameterSpec:
        wide, narrow = self.features, 12
        return ParameterSpec.from_shapes(
            [("what", (wide, narrow)), ("gate", (wide, narrow)), ("gate_bias", (narrow,)), ("back", (narrow, wide))]
        )

    def initial_theta(self, seed: int) -> Rows:
        drawn = np.random.default_rng(seed).standard_normal(self.parameters.count)
        return (0.2 * drawn).astype(np.float32)

    def score(self, theta: Any, x: Any) -> tuple[Any, Any]:
        what, gate, gate_bias, back = self.parameters.pieces(theta)
        reconstruction = (jnp.tanh(x @ what) * jax.nn.sigmoid(x @ gate + gate_bias)) @ back
        return jnp.mean((reconstruction - x) ** 2, axis=1), reconstruction

    def score_for_inference(self, theta: Any, x: Any) -> tuple[Any, Any]:
        return self.score(theta, x)


def heavy_ball_step(family: Any) -> Any:
    """Polyak's heavy ball with a pull of small parameters to zero."""

    def step(theta: Any, velocity: Any, lr: Any, momentum: Any, shrink: Any, x: Any, weight: Any) -> tuple[Any, ...]:
        loss, gradient = jax.value_and_grad(lambda at: weighted_loss(family, at, x, weight))(theta)
        velocity = momentum * velocity - lr * (gradient + shrink * jnp.tanh(100 * theta))
        return theta + velocity, velocity, loss, jnp.sqrt(jnp.sum(velocity * velocity))

    return step


FAMILY = GatedAutoencoder(48)
HEAVY_BALL = LearningRule(
    name="heavy_ball_step",
    summary="one step with inertia",
    inputs={
        "theta": Kind.MODEL,
        "velocity": Kind.MOMENT,
        "lr": rate(0.5, highest=20.0),
        "momentum": Setting("momentum", 0.8, 0.0, 0.99),
        "shrink": Setting("shrink", 0.0, 0.0, 1.0),
        "x": Kind.SAMPLES,
        "weight": Kind.WEIGHTS,
    },
    outputs=("theta_next", "velocity_next", "loss", "speed"),
    make=heavy_ball_step,
)


@pytest.fixture(scope="module")
def new_release(gateways: list[InstalledGateway], tmp_path_factory: pytest.TempPathFactory) -> Release:
    assert gateways[0].tell(b"Q"), "gateways run before the architecture exists"
    folder = tmp_path_factory.mktemp("built")
    build_family(FAMILY, [HEAVY_BALL], folder)
    return first_release(
        folder, SITE, created_at_us=CREATED_AT_US, rule=HEAVY_BALL.name, version=2, parameters=FAMILY.initial_theta(0)
    )


def test_a_new_architecture_with_a_new_rule_reaches_gateways_that_were_installed_before_it_existed(
    gateways: list[InstalledGateway], new_release: Release, installed: Path
) -> None:
    known = "".join(path.read_text() for path in installed.rglob("*.py"))
    assert not any(word in known for word in ("gated", "heavy_ball", "momentum", "velocity_next"))
    assert [gateway.offer(new_release) for gateway in gateways] == [(2, "")] * COUNT

    plan = Plan(graph=new_release.manifest.files[TRAIN_STEP].sha256, steps=60, learning_rate=5.0)
    apps = {f"gw-{number}": gateway.app() for number, gateway in enumerate(gateways)}
    theta, results = run_local_rounds(apps, new_release.parameters(), plan, rounds=4)
    assert [result.void for result in results] == [""] * 4

    merged = next_release(
        new_release, theta, SITE, version=3, level="site", created_at_us=CREATED_AT_US, data={}, metrics={}, merge={}
    )  # fmt: skip
    unseen = healthy_rows(1)[:40]
    before = [gateway.score(unseen) for gateway in gateways]
    assert [gateway.offer(merged) for gateway in gateways] == [(3, "")] * COUNT
    expected, _ = double_precision(FAMILY.score)(theta, unseen)
    for gateway, score_before in zip(gateways, before, strict=True):
        np.testing.assert_allclose(gateway.score(unseen), expected, rtol=1e-4)
        assert gateway.score(unseen).mean() < 0.8 * score_before.mean()
        origin, imported = json.loads(gateway.tell(b"Q"))
        assert origin == str(installed)
        assert not installed_gateway.NOT_INSTALLED & set(imported)


def test_a_role_they_do_not_know_is_refused_in_words_and_the_release_before_goes_on(
    gateways: list[InstalledGateway], new_release: Release
) -> None:
    files = {name: blob for name, blob in new_release.files.items() if name not in {MANIFEST, SIGNATURE}}
    files[SPEC] = files[SPEC].replace(b'"role": "state"', b'"role": "samples_of_tomorrow"')
    fields = {**new_release.manifest.model_dump(exclude={"files"}), "release_version": 9}
    version, problem = gateways[0].offer(make_release(fields, files, SITE))
    assert version < 9
    assert "refused (unknown_role)" in problem
    assert "samples_of_tomorrow" in problem
    assert "update this gateway's software first" in problem

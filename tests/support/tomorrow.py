"""A network and a learning rule that no gateway has ever heard of, built: `graphs/gated_autoencoder_48`.

Tests use what was built and need no JAX. Whoever changes the recipe below builds it again, with the extra foundry:
`python -m tests.support.tomorrow`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from aggregator.foundry.parameters import ParameterSpec

GRAPHS = Path(__file__).parent / "graphs" / "gated_autoencoder_48"
RULE = "heavy_ball_step"
STRANGE_WORDS = ("gated", "heavy_ball", "momentum", "velocity_next")  # in nothing that a gateway has installed

Rows = NDArray[np.float32]


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
        import jax
        import jax.numpy as jnp

        what, gate, gate_bias, back = self.parameters.pieces(theta)
        reconstruction = (jnp.tanh(x @ what) * jax.nn.sigmoid(x @ gate + gate_bias)) @ back
        return jnp.mean((reconstruction - x) ** 2, axis=1), reconstruction

    def score_for_inference(self, theta: Any, x: Any) -> tuple[Any, Any]:
        return self.score(theta, x)


FAMILY = GatedAutoencoder(48)


def score_by_numpy(theta: Rows, x: Rows) -> NDArray[np.float64]:
    """The same scores, shape (n,), without JAX."""
    parts = FAMILY.parameters.views(theta.astype(np.float64))
    gate = 1.0 / (1.0 + np.exp(-(x @ parts["gate"] + parts["gate_bias"])))
    reconstruction = (np.tanh(x @ parts["what"]) * gate) @ parts["back"]
    scores: NDArray[np.float64] = np.mean((reconstruction - x) ** 2, axis=1)
    return scores


def heavy_ball_step(family: Any) -> Any:
    """Polyak's heavy ball with a pull of small parameters to zero."""
    import jax
    import jax.numpy as jnp

    from aggregator.foundry.rules.descent import weighted_loss

    def step(theta: Any, velocity: Any, lr: Any, momentum: Any, shrink: Any, x: Any, weight: Any) -> tuple[Any, ...]:
        loss, gradient = jax.value_and_grad(lambda at: weighted_loss(family, at, x, weight))(theta)
        velocity = momentum * velocity - lr * (gradient + shrink * jnp.tanh(100 * theta))
        return theta + velocity, velocity, loss, jnp.sqrt(jnp.sum(velocity * velocity))

    return step


def build(folder: Path) -> None:
    """Make the graphs; the same bytes every time."""
    from aggregator.foundry.build import build_family
    from aggregator.foundry.rules.rule import Kind, LearningRule, Setting, rate

    heavy_ball = LearningRule(
        name=RULE,
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
    build_family(FAMILY, [heavy_ball], folder)


if __name__ == "__main__":
    build(GRAPHS)

"""This file knows whether the fleet's model serves one machine better than what that machine could learn alone.

Pure. The rival starts where the fleet started, learns from the machine's own healthy captures only, with as many
steps, and both are judged on the captures that neither was shown (`acceptance`). The one that tells those better is
the machine's model: chosen by its healthy captures alone, for nobody knows its faults (docs/proof/personalisation.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateway_agent.acceptance import FEWEST_CAPTURES, FEWEST_HELD, HealthyPoint, HeldBack, judge
from gateway_agent.model_slot import LoadedModel
from gateway_agent.training import MIN_ROWS, TrainingRefused, train
from schemas.messages import MachineFit

STEPS_A_RELEASE = 60  # of the fleet, as the site asks for by default
MOST_STEPS = 600  # a few tenths of a second
LEARNING_RATE = 1e-3
PULL = 0.0  # to where it started: it is nobody's but its own
SEED = 3


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What came of comparing the two for one machine.

    Attributes:
        fit: In figures, for the site.
        own: The machine's own model where that one serves it better; else None.
    """

    fit: MachineFit
    own: LoadedModel | None


def machine_fit(
    machine: str, points: Sequence[HealthyPoint], fleet: LoadedModel, start: LoadedModel, *, at_us: int
) -> Comparison | None:
    """Compare; None where too little is known of the machine, or the two are networks of different shape.

    Args:
        machine: Whose points these are.
        points: Its points.
        fleet: The model in use.
        start: The one it began with: the release that came with the software.
        at_us: Now.
    """
    usable = [point for point in points if len(point.features) >= FEWEST_CAPTURES and point.patterns]
    held = HeldBack.of(usable)
    if held.captures < FEWEST_HELD or start.theta.shape != fleet.theta.shape:
        return None
    known = np.concatenate([rows.reshape(-1, rows.shape[-1]) for rows in held.known])
    steps = min(MOST_STEPS, STEPS_A_RELEASE * max(1, fleet.version - start.version))
    try:
        learnt = train(
            start.theta, known, fleet.train_step(), steps=steps, learning_rate=LEARNING_RATE, proximal=PULL, seed=SEED,
            min_rows=MIN_ROWS,
        )  # fmt: skip
    except TrainingRefused:
        return None
    own = replace(fleet, theta=start.theta + learnt.delta)
    ours, alone = judge(held, fleet), judge(held, own)
    fit = MachineFit(
        machine=machine, release_version=fleet.version, steps=steps, rows=held.captures, auroc=ours.auroc,
        auroc_local=alone.auroc, loss=ours.loss, loss_local=alone.loss, at_us=at_us,
    )  # fmt: skip
    return Comparison(fit, own if alone.loss < ours.loss else None)

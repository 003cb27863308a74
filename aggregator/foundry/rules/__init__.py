"""This package knows the learning rules: one training step each, as a JAX function over the flat vector `theta`.

A rule is written once for every model family; the exporter turns it into a graph that gateways run. Batches
have a fixed size: a partial one is filled up with finite rows of weight 0, which leave no trace in loss or
gradient. What a rule wants fed is data in spec.json (`schemas.training_graph`), so that gateways run rules that
were written after they were installed.
"""

from __future__ import annotations

from aggregator.foundry.errors import UnknownNameError
from aggregator.foundry.rules.adam_prox import ADAM_PROX
from aggregator.foundry.rules.clipped import CLIPPED
from aggregator.foundry.rules.distillation import DISTILLATION
from aggregator.foundry.rules.ditto import DITTO
from aggregator.foundry.rules.fake_quantised import FAKE_QUANTISED
from aggregator.foundry.rules.frozen_part import FROZEN_PART
from aggregator.foundry.rules.maml import MAML
from aggregator.foundry.rules.pfedme import PFEDME
from aggregator.foundry.rules.rule import Kind, LearningRule, Setting

__all__ = ["RULES", "Kind", "LearningRule", "Setting", "rule_named"]

RULES: dict[str, LearningRule] = {
    each.name: each for each in (ADAM_PROX, CLIPPED, DITTO, MAML, PFEDME, FAKE_QUANTISED, DISTILLATION, FROZEN_PART)
}


def rule_named(name: str) -> LearningRule:
    """Find a learning rule, or say which there are."""
    if name not in RULES:
        raise UnknownNameError("learning rule", name, sorted(RULES))
    return RULES[name]

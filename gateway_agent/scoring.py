"""This file knows what the judge asks of a model: scores of standardised rows, and what the fleet knows."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gateway_agent.baseline import Rows
from gateway_agent.prognosis_lives import LivesKnowledge
from schemas.variation import Variation


class Model(Protocol):
    """What scores standardised rows, and what came with it."""

    @property
    def version(self) -> int:
        """Number of the release it came with; 0 for none."""
        ...

    @property
    def variation(self) -> Variation:
        """How healthy machines vary, as the release knows it; empty when it knows nothing."""
        ...

    @property
    def lives(self) -> LivesKnowledge:
        """How machines wear out, as the release knows it; the standards when it knows nothing."""
        ...

    def score(self, rows: Rows) -> tuple[Rows, Rows]:
        """Scores (n,) and reconstructions (n, F) of rows (n, F)."""
        ...


@dataclass(frozen=True, slots=True)
class StatisticalFallback:
    """The model of a gateway without one."""

    version: int = 0
    variation: Variation = field(default_factory=Variation)
    lives: LivesKnowledge = field(default_factory=LivesKnowledge.none)

    def score(self, rows: Rows) -> tuple[Rows, Rows]:
        """The mean squared distance in healthy spreads; nothing is reconstructed."""
        return np.mean(rows * rows, axis=1), np.zeros_like(rows)

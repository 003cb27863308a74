"""This file knows what every protocol is given, and what of the folder can play the target of a detection protocol."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.verdicts.baselines import BASELINES, QUICK_BASELINES, Baseline, Fleet, Source
from benchmarks.verdicts.features import FeatureCache
from benchmarks.verdicts.product import Product
from benchmarks.verdicts.recordings import HEALTHY, MIN_SAMPLES, NO_FAULTS, Head, Part, by_condition

COMMISSION_WINDOWS = 5
MIN_WINDOWS = 7  # five that commission and two to test on


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One condition with healthy and faulty recordings."""

    condition: str
    healthy: tuple[Head, ...]
    faults: tuple[Head, ...]
    window_s: float

    @property
    def dataset(self) -> str:
        """Which data set it is of."""
        return self.healthy[0].dataset

    @property
    def name(self) -> str:
        """As a table names it."""
        return self.healthy[0].short_condition

    @property
    def layout(self) -> str:
        """Rate and channels: conditions of one layout have features that mean the same."""
        return f"{self.healthy[0].rate_hz:g} {self.healthy[0].channels}"


@dataclass(slots=True)
class Context:
    """The folder, the product and what is calculated only once a run."""

    heads: Sequence[Head]
    product: Product
    tell: Callable[[str], None]
    quick: bool = False
    features: FeatureCache = field(default_factory=FeatureCache)
    fleet: Fleet = field(default_factory=Fleet)

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """All of them; the best alone in a quick run."""
        return QUICK_BASELINES if self.quick else BASELINES

    def targets(self) -> list[Target]:
        """Conditions with a healthy recording of at least seven windows and at least one fault."""
        found = []
        for condition, heads in by_condition(self.heads).items():
            window_s = heads[0].natural_window_s
            healthy = [h for h in heads if h.label == HEALTHY and h.windows(window_s) >= MIN_WINDOWS]
            faults = [h for h in heads if h.label not in NO_FAULTS]
            if healthy and faults and heads[0].window_samples(window_s) >= MIN_SAMPLES:
                found.append(Target(condition, tuple(healthy), tuple(faults), window_s))
        return found

    def healthy_elsewhere(self, condition: str) -> list[Head]:
        """All healthy recordings of other conditions, long and fast enough to have windows."""
        return [
            head
            for head in self.heads
            if head.label == HEALTHY
            and head.condition != condition
            and head.window_samples(head.natural_window_s) >= MIN_SAMPLES
            and head.windows(head.natural_window_s) >= MIN_WINDOWS
        ]

    def sources(self, condition: str) -> list[Source]:
        """Healthy windows of every other condition, each in windows of its own natural length."""
        found = []
        for name, heads in by_condition(self.healthy_elsewhere(condition)).items():
            rows = self.features.rows([Part(head) for head in heads], heads[0].natural_window_s)
            found.append(Source(name, f"{heads[0].rate_hz:g} {heads[0].channels}", rows))
        return found

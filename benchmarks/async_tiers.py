"""This file knows what asynchronous merging gains where one site of five is twenty times slower, in virtual time.

Twenty simulated machines, four gateways a site. Training, both levels of merging, staleness and the rule when a buffer
is full are the product's own; only time is played: a round of a site takes a minute, of the slow one twenty.
Synchronous is an enterprise that asks all and waits for all; asynchronous one that merges what three sites offer.
"""

import functools
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from aggregator.foundry.artefacts import BUILT
from aggregator.merge.pipeline import merge
from aggregator.merge.validate import Base, Limits, Update
from aggregator.release_making import first_release
from benchmarks.figures import Figure
from benchmarks.robust_rules.clients import Client, as_the_product_does, simulated
from benchmarks.robust_rules.federation import scores
from gateway_agent.model_slot import ModelSlot
from gateway_agent.training import train
from schemas.signing import Signer

SITES, GATEWAYS_A_SITE, SLOWER = 5, 4, 20.0
DEADLINE_S = 90.0  # of the synchronous rounds that leave the slow site out, shown beside
ROUND_S, SCATTER = 60.0, 0.1  # of a site; each round takes a little more or less
BUFFER_SITES = 3
STEPS, LEARNING_RATE = 16, 3e-3
SYNCHRONOUS_ROUNDS = 6  # whose loss is the one to be reached
LIMITS = Limits(max_weight=4096.0 * SITES, max_staleness=40)
SEEDS = (0, 1, 2)
TIME_TARGET, UPDATES_TARGET = 3.0, 5.0

Parameters = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Played:
    """What one way came to.

    Attributes:
        at_first: Loss before the first release.
        losses: Loss on captures nobody trained on, after each release; with its time in s.
        updates: Gateways' updates merged into releases.
        took_s: Virtual seconds until the last release.
    """

    at_first: float
    losses: tuple[tuple[float, float], ...]
    updates: int
    took_s: float

    def reaches_s(self, loss: float) -> float | None:
        """When the loss is as low as this for the first time."""
        return next((at_s for at_s, found in self.losses if found <= loss), None)

    @property
    def updates_an_hour(self) -> float:
        return 3600.0 * self.updates / self.took_s


class Machines:
    """Twenty gateways in five sites, and how they learn."""

    def __init__(self, clients: Sequence[Client], seed: int) -> None:
        self._clients = clients
        self._seed = seed
        slot = ModelSlot()
        release = first_release(BUILT / "dense_autoencoder_48", Signer.generate(), created_at_us=0, seed=seed)
        slot.load(release)
        self._step = slot.train_step()
        self.first = release.parameters()

    def site_round(self, site: int, theta: Parameters, number: int) -> Update:
        """What a site offers after a round from `theta`: its gateways' updates, merged."""
        own = range(site, len(self._clients), SITES)
        updates = [
            Update(f"gw-{at:02d}", 1, self._learn(at, theta, number), float(len(self._clients[at].training)))
            for at in own
        ]
        outcome = merge(updates, Base(1, theta.size))
        assert outcome.delta is not None
        return Update(f"site-{site}", 1, outcome.delta, sum(outcome.accepted.values()))

    def loss(self, theta: Parameters) -> float:
        """Mean reconstruction error of healthy captures nobody trained on."""
        return float(np.mean([scores(theta, client.healthy).mean() for client in self._clients]))

    def _learn(self, at: int, theta: Parameters, number: int) -> Parameters:
        return train(
            theta, self._clients[at].training, self._step, steps=STEPS, learning_rate=LEARNING_RATE, proximal=0.01,
            seed=1000 * self._seed + 100 * number + at, min_rows=10,
        ).delta  # fmt: skip


def durations(seed: int) -> Callable[[int], float]:
    """How long the next round of a site takes, in s."""
    draw = np.random.default_rng(seed)

    def next_s(site: int) -> float:
        return ROUND_S * (SLOWER if site == 0 else 1.0) * float(1 + SCATTER * draw.standard_normal())

    return next_s


def synchronous(machines: Machines, seed: int, *, rounds: int, deadline_s: float = float("inf")) -> Played:
    """The enterprise asks all sites and merges when all have answered; who misses the deadline is left out."""
    next_s, theta, now_s, merged = durations(seed), machines.first, 0.0, 0
    losses = []
    for number in range(rounds):
        took_s = [next_s(site) for site in range(SITES)]
        in_time = [site for site in range(SITES) if took_s[site] <= deadline_s]
        updates = [machines.site_round(site, theta, number) for site in in_time]
        merged += len(in_time) * GATEWAYS_A_SITE
        now_s += min(deadline_s, max(took_s))
        theta = _merged(theta, 1, updates)
        losses.append((now_s, machines.loss(theta)))
    return Played(machines.loss(machines.first), tuple(losses), merged, now_s)


@dataclass(slots=True)
class _Site:
    theta: Parameters
    base: int = 1
    rounds: int = 0


@dataclass(slots=True)
class _Enterprise:
    theta: Parameters
    version: int = 1
    buffer: list[Update] = field(default_factory=list)


def asynchronous(machines: Machines, seed: int, *, until_s: float) -> Played:
    """Sites run their own rounds and offer each; they take the fleet's parameters when a round of theirs has ended."""
    next_s, top = durations(seed), _Enterprise(machines.first)
    sites = [_Site(machines.first) for _ in range(SITES)]
    ends = [(next_s(site), site) for site in range(SITES)]
    heapq.heapify(ends)
    losses, updates, released_s = [], 0, 0.0
    while ends[0][0] <= until_s:
        now_s, at = heapq.heappop(ends)
        site = sites[at]
        offer = machines.site_round(at, site.theta, site.rounds)
        site.rounds += 1
        site.theta = site.theta + offer.delta
        top.buffer.append(Update(offer.member, site.base, offer.delta, offer.weight))
        if len({each.member for each in top.buffer}) >= BUFFER_SITES:
            top.theta = _merged(top.theta, top.version, top.buffer)
            updates += len(top.buffer) * GATEWAYS_A_SITE
            top.version, top.buffer, released_s = top.version + 1, [], now_s
            losses.append((now_s, machines.loss(top.theta)))
        if top.version > site.base:
            site.theta, site.base = top.theta, top.version
        heapq.heappush(ends, (now_s + next_s(at), at))
    return Played(machines.loss(machines.first), tuple(losses), updates, released_s)


def _merged(theta: Parameters, version: int, updates: Sequence[Update]) -> Parameters:
    outcome = merge(updates, Base(version, theta.size), limits=LIMITS)
    assert outcome.delta is not None
    return theta + outcome.delta


@functools.cache
def _both() -> tuple[tuple[Played, Played, Played], ...]:
    played = []
    for seed in SEEDS:
        machines = Machines(as_the_product_does(simulated(seed)), seed)
        waits = synchronous(machines, seed, rounds=SYNCHRONOUS_ROUNDS)
        goes = asynchronous(machines, seed, until_s=waits.took_s)
        hurries = synchronous(machines, seed, rounds=int(waits.took_s / DEADLINE_S), deadline_s=DEADLINE_S)
        played.append((waits, goes, hurries))
    return tuple(played)


def async_time_to_loss_ratio() -> Figure:
    """Virtual time until the loss of six synchronous rounds, synchronous over asynchronous."""
    both = _both()
    wanted = [waits.losses[-1][1] for waits, _, _ in both]
    theirs = [waits.took_s for waits, _, _ in both]
    ours = [goes.reaches_s(loss) for (_, goes, _), loss in zip(both, wanted, strict=True)]
    reached = [each for each in ours if each is not None]
    ratios = tuple(other / one for one, other in zip(ours, theirs, strict=True) if one is not None)
    before = [waits.at_first for waits, _, _ in both]
    note = (
        f"20 simulated machines in {SITES} sites, one {SLOWER:.0f} times slower, seeds {SEEDS}; loss to reach "
        f"{', '.join(f'{loss:.3f}' for loss in wanted)}, at first {', '.join(f'{loss:.3f}' for loss in before)}; "
        f"synchronous with a deadline of {DEADLINE_S:.0f} s, without the slow site, reaches it after "
        f"{', '.join(_seconds(hurries.reaches_s(loss)) for (_, _, hurries), loss in zip(both, wanted, strict=True))}; "
        f"after the same time asynchronous has {', '.join(f'{goes.losses[-1][1]:.3f}' for _, goes, _ in both)}"
    )
    value = median(ratios) if len(reached) == len(both) else None
    return Figure(
        "async_time_to_loss_ratio", value, "", TIME_TARGET, "above", median(reached) if reached else None,
        median(theirs), ratios, note,
    )  # fmt: skip


def async_updates_merged_ratio() -> Figure:
    """Gateways' updates merged an hour of virtual time, asynchronous over synchronous."""
    both = _both()
    ratios = tuple(goes.updates_an_hour / waits.updates_an_hour for waits, goes, _ in both)
    ours = median(goes.updates_an_hour for _, goes, _ in both)
    theirs = median(waits.updates_an_hour for waits, _, _ in both)
    note = f"updates an hour; {SITES} sites of {GATEWAYS_A_SITE} gateways, one site {SLOWER:.0f} times slower"
    return Figure("async_updates_merged_ratio", median(ratios), "", UPDATES_TARGET, "above", ours, theirs, ratios, note)


def _seconds(found: float | None) -> str:
    return "never" if found is None else f"{found:.0f} s"


FIGURES: tuple[Callable[[], Figure], ...] = (async_time_to_loss_ratio, async_updates_merged_ratio)

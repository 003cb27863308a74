"""This file knows how a release goes out: from what gateways say to the next stage, patience, or the way back.

Pure: no clock, no database. A release is tried before anybody depends on it:

    shadow     canaries score every capture with it too, without a say; every gateway asked judges it on its hold-out
    canary     canaries run it; the one before goes on beside it, so that both see the same captures
    staged     a growing share of the gateways runs it
    everywhere it is the current one
    withdrawn  it goes no further; where it ran, the release before is brought back under a higher version

With one or two gateways there is nobody to go first for many: stages that would hold nobody new are left out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from schemas.messages import GateReport, ShadowSummary

Stage = Literal["shadow", "canary", "staged", "everywhere", "withdrawn"]
Kind = Literal["hold", "advance", "withdraw"]

STATED_RATE = 0.01  # of single healthy captures above their limit, as gateways are commissioned by default
CHANCE = 1e-3  # a difference likelier than this is called chance
DOUBLED = 2.0
MOST_STARTS = 3  # of one gateway's agent within one stage and a quarter of an hour: it does not come up any more
RENEWED_AT = 0.5  # share of its time that a release in use has left when it goes out anew
RENEWED_AT_LAST = 0.25  # when it does so although others are on their way, which then have to be learnt again
SHADOW_PATIENCE = 4  # times shadow_s: where machines of the canaries are in alarm or at rest, nothing is compared


@dataclass(frozen=True, slots=True)
class Pace:
    """How long each stage lasts, and what ends it early.

    Attributes:
        canaries: Gateways that go first.
        shadow_s: At least so long without a say.
        shadow_windows: And at least so many captures on the canaries together; not waited for beyond SHADOW_PATIENCE.
        canary_s: At least so long in use on the canaries.
        shares: Of the gateways, one stage after the other.
        share_s: At least so long at each.
        answer_s: How long gateways may take to judge a candidate; who has not answered then is not waited for.
        most_auroc_loss: What a candidate may lose on synthetic faults, on the mean of the site's hold-outs.
        most_loss_rise: Factor by which its loss on healthy captures may be higher.
    """

    canaries: int = 1
    shadow_s: float = 3600.0
    shadow_windows: int = 200
    canary_s: float = 3600.0
    shares: tuple[float, ...] = (0.25,)
    share_s: float = 3600.0
    answer_s: float = 120.0
    most_auroc_loss: float = 0.01
    most_loss_rise: float = 1.05


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one gateway; of its own word alone.

    Attributes:
        online: Whether it is there.
        version: Of the release it runs.
        runs: Whether that is the very release this is about.
        refused: Why it refused this release, where that is the release's fault; empty when it has not.
        excused: Why it cannot run this release, where that is its own affair (a full disk, older software).
        starts: Starts of its agent seen lately, since this stage began.
        gate: Its judgement of this release on its hold-out.
        shadow: This release and another on the same captures, whichever of them has the say.
    """

    online: bool
    version: int
    runs: bool
    refused: str = ""
    excused: str = ""
    starts: int = 0
    gate: GateReport | None = None
    shadow: ShadowSummary | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a release has come.

    Attributes:
        version: Of the release.
        stage: Where it is.
        share: In `staged`, the share of gateways; else 0.
        age_s: For how long.
        order: Gateways in the order in which they take it (`in_order`).
        paused: Whether a person has stopped it there.
        promoted: Whether a person has asked for the next stage now.
        other_network: Whether it brings another network than the release before it: losses of two networks do not
            compare, what they tell apart does.
    """

    version: int
    stage: Stage
    share: float = 0.0
    age_s: float = 0.0
    order: tuple[str, ...] = ()
    paused: bool = False
    promoted: bool = False
    other_network: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next, in words for people.

    Attributes:
        kind: Stay, go on, or go back.
        stage: The stage from now on.
        share: In `staged`.
        text: Why.
        evidence: What it was decided on, for the record.
    """

    kind: Kind
    stage: Stage
    share: float
    text: str
    evidence: dict[str, float] = field(default_factory=dict)


def is_due_anew(made_at_us: int, expires_at_us: int | None, now_us: int, *, others_on_their_way: bool) -> bool:
    """Whether the release in use must go out anew, so that no gateway is left with one that is past its time."""
    if expires_at_us is None:
        return False
    left = (expires_at_us - now_us) / max(1, expires_at_us - made_at_us)
    return left < (RENEWED_AT_LAST if others_on_their_way else RENEWED_AT)


def in_order(kept: Sequence[str], gateways: Mapping[str, Seen]) -> tuple[str, ...]:
    """Who goes when: as was decided when the release set out; then, who has come since, those that are there first."""
    new = sorted(set(gateways) - set(kept), key=lambda name: (not gateways[name].online, name))
    return (*kept, *new)


def canaries_of(order: Sequence[str], count: int) -> tuple[str, ...]:
    """Who goes first: never more than half, but one."""
    return tuple(order[: max(1, min(count, len(order) // 2))])


def takers_of(order: Sequence[str], stage: Stage, share: float, pace: Pace) -> tuple[str, ...]:
    """The gateways that are to run a release in a stage."""
    if stage in {"shadow", "withdrawn"}:
        return ()
    if stage == "everywhere":
        return tuple(order)
    first = len(canaries_of(order, pace.canaries)) if order else 0
    return tuple(order[: max(first, math.ceil(share * len(order)) if stage == "staged" else 0)])


def next_step(progress: Progress, gateways: Mapping[str, Seen], pace: Pace) -> Step:
    """Decide.

    Args:
        progress: How far the release has come.
        gateways: All of the site, those that are away as well.
        pace: How fast it may go.
    """
    if progress.stage == "withdrawn" or (progress.stage == "everywhere" and progress.age_s > pace.share_s):
        return _stay(progress, "the rollout has ended", {})
    if not gateways:
        return _stay(progress, "no gateway has been heard yet", {})
    bad, evidence = _what_is_wrong(progress, gateways, pace)
    if bad:
        return Step("withdraw", "withdrawn", 0.0, bad, evidence)
    if progress.stage == "everywhere":
        return _stay(progress, "everywhere, and still watched", evidence)
    if progress.paused:
        return _stay(progress, "paused by a person", evidence)
    if not progress.promoted:
        waits = _what_is_missing(progress, gateways, pace)
        if waits:
            return _stay(progress, waits, evidence)
    stage, share, note = _after(progress, pace)
    why = "promoted by a person" if progress.promoted else _what_was_shown(progress, gateways)
    return Step("advance", stage, share, f"{why}{note}", evidence)


def _stay(progress: Progress, text: str, evidence: dict[str, float]) -> Step:
    return Step("hold", progress.stage, progress.share, text, evidence)


def _what_is_wrong(
    progress: Progress, gateways: Mapping[str, Seen], pace: Pace
) -> tuple[str, dict[str, float]]:  # fmt: skip
    """Why the release must not go on, and the figures; empty when nothing speaks against it."""
    for name, seen in sorted(gateways.items()):
        if seen.refused:
            return f"gateway {name} refused it: {seen.refused}", {}
        if seen.starts > MOST_STARTS:
            return f"gateway {name} was started {seen.starts} times since it came, {MOST_STARTS} allowed", {}
    gate, evidence = judge_gates(_gates(progress, gateways), pace, by_loss=not progress.other_network)
    worse, compared = judge_shadows(progress.version, _shadows(progress, gateways))
    return gate or worse, evidence | compared


def judge_gates(
    gates: Mapping[str, GateReport], pace: Pace, *, by_loss: bool = True
) -> tuple[str, dict[str, float]]:  # fmt: skip
    """Whether the site's hold-outs together speak against a candidate; gateways count by their rows.

    Args:
        gates: Gateway -> its report on this candidate.
        pace: What is allowed.
        by_loss: Whether a higher loss speaks against it.

    Returns:
        Why not, empty when nothing does; and the means.
    """
    hopeless = [name for name, one in sorted(gates.items()) if one.problem and one.auroc is not None]
    if hopeless:
        return f"on gateway {hopeless[0]} {gates[hopeless[0]].problem}", {}
    told = [one for one in gates.values() if one.rows > 0]
    rows = sum(one.rows for one in told)
    if not rows:
        return "", {}

    def mean(name: str) -> float:
        return sum(one.rows * float(getattr(one, name)) for one in told) / rows

    found = {
        name: mean(name)
        for name in ("auroc", "auroc_in_use", "loss", "loss_in_use", "false_alarm_rate", "false_alarm_rate_in_use")
    }
    found |= {"rows": float(rows), "judges": float(len(told))}
    if found["auroc"] < found["auroc_in_use"] - pace.most_auroc_loss:
        text = (
            f"AUROC on synthetic faults {found['auroc']:.3f} against {found['auroc_in_use']:.3f} of the release in "
            f"use, {pace.most_auroc_loss:g} less allowed"
        )
        return text, found
    if by_loss and found["loss"] > found["loss_in_use"] * pace.most_loss_rise:
        text = (
            f"loss on healthy captures {found['loss']:.4g} against {found['loss_in_use']:.4g} of the release in use, "
            f"{pace.most_loss_rise:g} times allowed"
        )
        return text, found
    return "", found


def judge_shadows(version: int, shadows: Mapping[str, ShadowSummary]) -> tuple[str, dict[str, float]]:
    """Whether a release does worse than another on the same captures.

    Worse: more than twice as many healthy captures exceed their limit (at least twice the stated rate), and by more
    than chance explains (`chance_of`); or captures that it cannot score.

    Args:
        version: Of the release.
        shadows: Gateway -> both releases on the same captures.

    Returns:
        Why it is worse, empty when it is not; and the sums.
    """
    windows = sum(one.windows for one in shadows.values())
    errors = sum(one.errors for one in shadows.values() if one.this_version == version)
    ours = sum(_exceeding(one, version)[0] for one in shadows.values())
    others = sum(_exceeding(one, version)[1] for one in shadows.values())
    found = {
        "windows": float(windows), "exceeding": float(ours), "exceeding_other": float(others),
        "score_errors": float(errors),
    }  # fmt: skip
    if errors:
        return f"{errors} captures could not be scored by it", found
    usual = max(others / windows, STATED_RATE) if windows else STATED_RATE
    if windows and ours > DOUBLED * usual * windows and chance_of(ours, windows, usual) < CHANCE:
        text = (
            f"{ours} of {windows} healthy captures exceed their limit, {others} of the same by the other release; "
            "that is no chance"
        )
        return text, found
    return "", found


def chance_of(exceeding: int, windows: int, rate: float) -> float:
    """At most how likely so many or more of `windows` exceed when each does with `rate` (Chernoff's bound).

    exp(-n KL(k/n || p)); exact tails would need sums of thousands of terms and decide the same.
    """
    share = exceeding / windows
    if share <= rate:
        return 1.0
    if rate >= 1.0:
        return 1.0
    divergence = share * math.log(share / rate)
    if share < 1.0:
        divergence += (1.0 - share) * math.log((1.0 - share) / (1.0 - rate))
    return math.exp(-windows * divergence)


def _exceeding(one: ShadowSummary, version: int) -> tuple[int, int]:
    """Captures above the limit by this release, and by the other."""
    if one.this_version == version:
        return one.exceeding_this, one.exceeding_in_use
    return one.exceeding_in_use, one.exceeding_this


def _gates(progress: Progress, gateways: Mapping[str, Seen]) -> dict[str, GateReport]:
    return {
        name: seen.gate
        for name, seen in gateways.items()
        if seen.gate is not None and seen.gate.version == progress.version
    }


def _shadows(progress: Progress, gateways: Mapping[str, Seen]) -> dict[str, ShadowSummary]:
    """Comparisons of this stage: beside the one in use before it is in use, with the one before afterwards."""
    return {
        name: one
        for name, seen in gateways.items()
        if (one := seen.shadow) is not None
        and (one.this_version if progress.stage == "shadow" else one.in_use_version) == progress.version
    }


def _what_is_missing(progress: Progress, gateways: Mapping[str, Seen], pace: Pace) -> str:
    takers = takers_of(progress.order, progress.stage, progress.share, pace)
    if progress.stage == "shadow":
        return _missing_in_shadow(progress, gateways, pace)
    known = [name for name in takers if name in gateways and not gateways[name].excused]
    if progress.stage == "staged":  # who is away gets it on coming back; nobody can wait for a gateway that is gone
        known = [name for name in known if gateways[name].online]
    late = [name for name in known if not gateways[name].runs]
    if late:
        away = [name for name in late if not gateways[name].online]
        return f"waits for {', '.join(late[:5])} to run it" + (f"; away: {', '.join(away[:5])}" if away else "")
    wanted_s = pace.canary_s if progress.stage == "canary" else pace.share_s
    if progress.age_s < wanted_s:
        return f"runs on {len(takers)} of {len(gateways)} gateways for {progress.age_s:.0f} of {wanted_s:.0f} s"
    return ""


def _missing_in_shadow(progress: Progress, gateways: Mapping[str, Seen], pace: Pace) -> str:
    first = canaries_of(progress.order, pace.canaries)
    shadows = _shadows(progress, gateways)
    if progress.age_s < pace.answer_s:
        unheard = [n for n, seen in sorted(gateways.items()) if seen.online and n not in _gates(progress, gateways)]
        if unheard:
            return f"waits for {', '.join(unheard[:5])} to judge it on what they held back"
    windows = sum(shadows[name].windows for name in first if name in shadows)
    enough = windows >= pace.shadow_windows or progress.age_s >= SHADOW_PATIENCE * pace.shadow_s + pace.answer_s
    if progress.age_s < pace.shadow_s or not enough:
        return (
            f"scored beside the one in use on {', '.join(first)}: {windows} of {pace.shadow_windows} captures, "
            f"{progress.age_s:.0f} of {pace.shadow_s:.0f} s"
        )
    return ""


def _after(progress: Progress, pace: Pace) -> tuple[Stage, float, str]:
    """The next stage that holds somebody new."""
    gateways = progress.order
    here = len(takers_of(gateways, progress.stage, progress.share, pace))
    ladder: list[tuple[Stage, float]] = [
        ("canary", 0.0), *(("staged", share) for share in sorted(pace.shares)), ("everywhere", 0.0),
    ]  # fmt: skip
    note = ""
    for stage, share in ladder:
        count = len(takers_of(gateways, stage, share, pace))
        if stage == "everywhere" or here < count < len(gateways):
            if stage == "everywhere" and progress.stage == "shadow":
                note = f"; with {len(gateways)} gateway nobody can go first: it was scored beside the one in use only"
            elif stage == "everywhere" and len(gateways) < 1.0 / min((*pace.shares, 1.0)):
                note = f"; {len(gateways)} gateways are too few for further stages"
            return stage, share, note
    return "everywhere", 0.0, note


def _what_was_shown(progress: Progress, gateways: Mapping[str, Seen]) -> str:
    gates = [one for one in _gates(progress, gateways).values() if one.rows]
    _, figures = judge_shadows(progress.version, _shadows(progress, gateways))
    text = (
        f"{figures['exceeding']:.0f} of {figures['windows']:.0f} healthy captures exceed, "
        f"{figures['exceeding_other']:.0f} by the other release"
    )
    if progress.stage == "shadow":
        if not gates:
            return f"nobody could judge it; {text}"
        return f"no worse on the hold-outs of {len(gates)} of {len(gateways)} gateways; {text}"
    return text

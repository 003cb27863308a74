"""This file knows how a release is learnt from healthy recordings: gateways played in one process, nothing pooled.

The one place where a service may import another's code: the gateways' own feature path and Flower app run here
unchanged, behind the same strategy and merge as on a plant's broker. Rows of two clients never meet.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from aggregator.errors import AggregatorError
from aggregator.foundry.artefacts import BUILT as GRAPHS
from aggregator.foundry.errors import FoundryError
from aggregator.learning.local import learn_local_variation, run_local_rounds
from aggregator.learning.strategy import Plan, RoundResult
from aggregator.lives import learn_lives
from aggregator.merge.levels import part_for_site
from aggregator.release_making import LEARNING_RULE, first_release
from gateway_agent.backtest import cut_windows, expand_lists, follow_life, parse_cut
from gateway_agent.baseline import Baseline, Rows, expected_variance, model_rows
from gateway_agent.builtin import builtin_model
from gateway_agent.errors import BacktestError
from gateway_agent.federation import make_client_app
from gateway_agent.healthy_rows import HealthyRows
from gateway_agent.model_slot import ModelSlot
from gateway_agent.prognosis_learning import LifeCourse, LifeUnusable, RecordedLife
from gateway_agent.session_sums import MIN_SESSION, Session
from schemas.errors import RejectedInput
from schemas.flower_codec import ClientCall
from schemas.lives import lives_file
from schemas.parameter_levels import MergeLevel
from schemas.recordings import Recording, client_of, read_recording
from schemas.release import LIVES, TRAIN_STEP, VARIATION, Release
from schemas.settings import user_folder
from schemas.signing import Signer
from schemas.variation import Variation
from vibration.detection_features import detection_features
from vibration.features import FEATURE_NAMES, MODEL_FEATURES, FeatureKernel
from vibration.quality import assess_quality

FAMILIES = {"dense": "dense_autoencoder_48", "conv": "conv_autoencoder_48"}
MIN_ROWS = 10  # of one client; recordings are short, and every one of them is looked at by a person first
ROWS_KEPT = 20_000
DEFAULT_ROUNDS = 20
STEPS = 40
LEARNING_RATE = 2e-3
NOTHING_KNOWN = Variation()
COMMISSION_SHARE = 0.15  # of a life that is taken as healthy


class FitError(AggregatorError):
    """A release cannot be learnt from what was given; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What the command line asks for beside the files.

    Attributes:
        client_by: What counts as one client.
        window_s: Length of a window.
        seed: For first values and the order of batches.
        rounds: How many.
        graphs: A folder built by `aggregator foundry`: the network, and every rule to train it by.
        rule: Which of its training graphs the release gets.
        levels: Parts of the parameters that are not merged across the fleet (`schemas.parameter_levels`).
    """

    client_by: str
    window_s: float
    seed: int
    rounds: int
    graphs: Path = GRAPHS / FAMILIES["dense"]
    rule: str = LEARNING_RULE
    levels: Mapping[str, MergeLevel] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `aggregator fit`."""
    parser.add_argument("--captures", nargs="+", required=True, metavar="FILE", help="recordings taken as healthy")
    parser.add_argument("--lives", nargs="+", default=[], metavar="FILE", help="whole run-to-failure recordings")
    parser.add_argument("--client-by", choices=("machine", "recording", "condition"), default="machine")
    parser.add_argument("--window-s", type=float, default=0.25, help="length of a window in seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=DEFAULT_ROUNDS)
    parser.add_argument("--key", type=Path, help="signing key; one of this user's own, made on first use, if left out")
    network = parser.add_mutually_exclusive_group()
    network.add_argument("--family", choices=sorted(FAMILIES), default="dense", help="network of the release (dense)")
    network.add_argument("--graphs", type=Path, metavar="DIR", help="or a network built by `aggregator foundry build`")
    parser.add_argument(
        "--rule", default=LEARNING_RULE, metavar="NAME",
        help=f"training graph of that network to learn by ({LEARNING_RULE}); `aggregator foundry list` names them",
    )  # fmt: skip
    parser.add_argument(
        "--level",
        action="append",
        default=[],
        metavar="PART=LEVEL",
        help="merge a part of the parameters within a site only (site), or nowhere (machine); may be repeated",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="RELEASE_DIR", help="folder of the release")


def run(options: argparse.Namespace) -> int:
    """Learn a release and write it; the exit code.

    Raises:
        FitError: Bad input; nothing is written.
    """
    if options.rounds < 1 or options.window_s <= 0 or options.seed < 0:
        given = f"--rounds {options.rounds}, --window-s {options.window_s}, --seed {options.seed}"
        raise FitError(f"{given} found; at least 1, above 0 and at least 0 needed")
    try:
        captures, lives = expand_lists(options.captures), expand_lists(options.lives)
        wanted = FitOptions(
            options.client_by, options.window_s, options.seed, options.rounds,
            options.graphs or GRAPHS / FAMILIES[options.family], options.rule, read_levels(options.level),
        )  # fmt: skip
        release = fit(captures, lives, wanted, signing_key(options.key))
    except (BacktestError, FoundryError, RejectedInput) as error:
        raise FitError(str(error)) from error
    options.out.mkdir(parents=True, exist_ok=True)
    release.save(options.out)
    _tell(f"release {release.digest[:12]} in {options.out}, signed by {release.signer}")
    return 0


def read_levels(said: Sequence[str]) -> dict[str, MergeLevel]:
    """Read `PART=LEVEL` of the command line.

    Raises:
        FitError: It is of another form, names a part twice, or a level that there is none of.
    """
    levels: dict[str, MergeLevel] = {}
    for each in said:
        part, _, level = each.partition("=")
        if not part or level not in get_args(MergeLevel) or part in levels:
            allowed = f"PART={'|'.join(get_args(MergeLevel))}, each part once"
            raise FitError(f"--level {each} found, {allowed} allowed, such as --level layer_4=machine")
        levels[part] = cast("MergeLevel", level)
    return levels


def signing_key(path: Path | None) -> Signer:
    """Read the key that vouches for fitted releases; this user's own is made on first use."""
    if path is not None:
        return Signer.load(path)
    own = user_folder() / "fit-signing.key"
    if not own.exists():
        Signer.generate().save(own)
        _tell(f"made a signing key: {own}")
    return Signer.load(own)


def fit(captures: Sequence[str], lives: Sequence[str], options: FitOptions, signer: Signer) -> Release:
    """Learn a release from recordings.

    Raises:
        BacktestError, RejectedInput: A recording cannot be used.
        FoundryError: The graphs cannot be read, or there is none of that rule.
        ReleaseRejected: They are of other features than this software computes, or the levels fit none of their parts.
        FitError: No client has enough to learn from.
    """
    clients = _clients(captures, options)
    life_sums = learn_lives(_lives(lives))
    network: dict[str, Any] = {"rule": options.rule, "levels": options.levels}
    base = first_release(
        options.graphs, signer, created_at_us=time.time_ns() // 1000, seed=options.seed, **network
    )  # fmt: skip
    slot = ModelSlot()
    slot.load(base)
    learnt = learn_local_variation({name: _app(base, slot, client) for name, client in clients.items()})
    for rejection in learnt.rejected:
        _tell(f"client {rejection.member} told nothing of how its machines vary: {rejection.text}")
    known = learnt.known
    _tell(f"{known.sessions:.0f} healthy sessions of {len(known.layouts)} layouts say how healthy machines vary")
    apps = {name: _app(base, slot, client, known) for name, client in clients.items()}
    plan = Plan(
        graph=base.manifest.files[TRAIN_STEP].sha256, steps=STEPS, learning_rate=_learning_rate(slot, options.rule),
        seed=options.seed, part=partial(part_for_site, levels=slot.loaded.levels),
    )  # fmt: skip
    theta, results = run_local_rounds(apps, base.parameters(), plan, rounds=options.rounds, on_round=_tell_round)
    good = [r for r in results if r.theta is not None]
    if not good:
        raise FitError(f"no round was good; the last said: {results[-1].void or 'nobody answered'}")
    data = {
        "clients": len(clients), "recordings": len(captures), "lives": round(life_sums.lives), "rounds": len(good),
        "rows": sum(client.rows for client in clients.values()), "sessions": round(known.sessions),
    }  # fmt: skip
    return first_release(
        options.graphs, signer, created_at_us=time.time_ns() // 1000, parameters=theta, name="fitted", data=data,
        **network, metrics={name: float(value) for name, value in good[-1].metrics.items()},
        knowledge={VARIATION: known.pack(), LIVES: lives_file(life_sums)},
    )  # fmt: skip


def _learning_rate(slot: ModelSlot, rule: str) -> float:
    """Ours for the rule we know; for others what their graph says of itself."""
    said = slot.loaded.training.settings.get("learning_rate")
    return LEARNING_RATE if rule == LEARNING_RULE or said is None else said.default


@dataclass(slots=True)
class Client:
    """One gateway that is played: sessions of its healthy recordings, and the rows its model learns from."""

    sessions: list[Session] = field(default_factory=list)
    training: list[Session] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows there will be to train on."""
        return sum(len(s.features) * s.features.shape[1] for s in self.training)


def sessions_of(recording: Recording, given: str, window_s: float) -> tuple[Session, list[Session]]:
    """One healthy recording as sessions: cut into windows as asked, and by whole snapshots where there are many.

    A gateway may hear captures as long as a snapshot whatever windows a fit is asked to cut; what the fleet knows
    of such captures is learnt here too.

    Returns:
        The session of the windows asked for, and all that are different.

    Raises:
        BacktestError: It cannot be cut into windows.
    """
    asked = _session(recording, given, window_s)
    whole = round(window_s * recording.sample_rate_hz) >= recording.counts.shape[2]
    if whole or recording.snapshots < MIN_SESSION:
        return asked, [asked]
    return asked, [asked, _session(recording, given, None)]


def _session(recording: Recording, given: str, window_s: float | None) -> Session:
    windows = [w.capture for w in cut_windows(recording, parse_cut(given), window_s)]
    usable = [c for c in windows if assess_quality(c.counts, sample_rate_hz=c.sample_rate_hz).ok]
    layout = (recording.sample_rate_hz, windows[0].samples)
    same = [c.counts for c in usable if c.samples == layout[1]]
    kernel = FeatureKernel(sample_rate_hz=layout[0], samples=layout[1], channels=windows[0].channels)
    features = kernel.run(same, windows[0].scale_g) if same else np.zeros((0, windows[0].channels, len(FEATURE_NAMES)))
    return Session(detection_features(features[:, :, MODEL_FEATURES]), layout)


def standardised_rows(session: Session, variation: Variation) -> Rows:
    """Rows of one healthy session, standardised by its own baseline, as a gateway does it; shape (n, F)."""
    if len(session.features) < MIN_SESSION:
        return np.zeros((0, MODEL_FEATURES.stop - MODEL_FEATURES.start), np.float32)
    expected = expected_variance(variation.prior(*session.layout), *session.layout)
    z = Baseline.learn(session.features, expected).standardise(session.features)
    return model_rows(z.reshape(-1, z.shape[2]))


def _clients(captures: Sequence[str], options: FitOptions) -> dict[str, Client]:
    clients: defaultdict[str, Client] = defaultdict(Client)
    for number, given in enumerate(captures, 1):
        recording = read_recording(parse_cut(given).path)
        name = client_of(recording, options.client_by)  # type: ignore[arg-type]  # argparse allows these three only
        asked, sessions = sessions_of(recording, given, options.window_s)
        clients[name].sessions += sessions
        clients[name].training.append(asked)
        _tell(f"{number}/{len(captures)} {given}: {len(asked.features)} windows for client {name}")
    small = {name: client.rows for name, client in clients.items() if client.rows < MIN_ROWS}
    for name, count in small.items():
        _tell(f"client {name} has {count} rows, at least {MIN_ROWS} needed; left out")
    kept = {name: client for name, client in clients.items() if name not in small}
    if not kept:
        raise FitError(f"{captures[-1]}: no client has {MIN_ROWS} rows of healthy windows; give longer recordings")
    return kept


def _lives(lives: Sequence[str]) -> dict[str, RecordedLife]:
    """Whole lives as their gateways saw them: features, and whether an alarm had been up."""
    recorded = {}
    for number, given in enumerate(lives, 1):
        _tell(f"life {number}/{len(lives)} {given}")
        cut = parse_cut(given)
        features, at_s, worn = follow_life(builtin_model(), cut, COMMISSION_SHARE)
        try:
            course = LifeCourse.of_features(features, at_s, commission_share=COMMISSION_SHARE, worn=worn)
        except LifeUnusable as error:
            raise FitError(f"{given}: {error}") from error
        recorded[given] = RecordedLife(course)
    return recorded


def _app(base: Release, slot: ModelSlot, client: Client, known: Variation = NOTHING_KNOWN) -> ClientCall:
    ring = HealthyRows(ROWS_KEPT)
    for session in client.training:
        ring.add(standardised_rows(session, known))
    return make_client_app(lambda: base, slot.train_step, ring, min_rows=MIN_ROWS, sessions=lambda: client.sessions)


def _tell_round(result: RoundResult) -> None:
    if result.theta is None:
        _tell(f"round {result.round_number}: void, {result.void}")
        return
    numbers = " ".join(f"{name} {value:.4g}" for name, value in result.metrics.items())
    note = "; ".join(result.outcome.notes) if result.outcome else ""
    _tell(f"round {result.round_number}: {numbers} {note}".rstrip())


def _tell(text: str) -> None:
    print(text, file=sys.stderr)

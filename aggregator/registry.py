"""This file knows the releases of a site or an enterprise: how merged parameters become one, and which is current."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection, Engine

from aggregator.database import writing
from aggregator.foundry.artefacts import SPEC_FILE, BuiltSpec, read_checked
from aggregator.foundry.errors import UnknownNameError
from aggregator.foundry.families import family_named
from aggregator.rollout_plan import Stage
from schemas.errors import ReleaseRejected
from schemas.feature_layout import FEATURE_LAYOUT
from schemas.parameter_levels import MergeLevel
from schemas.release import (
    GOLDEN,
    MANIFEST,
    PARAMETERS,
    SCORE,
    SIGNATURE,
    SPEC,
    TRAIN_STEP,
    Release,
    golden_file,
    make_release,
    read_release_bundle,
)
from schemas.signing import KeyRing, Signer
from schemas.site_tables import release as release_table
from schemas.site_tables import release_event as release_event_table

Level = Literal["builtin", "fleet", "site"]
Parameters = NDArray[np.float32]

GOLDEN_ROWS = 16
GOLDEN_SEED = 20
LEARNING_RULE = "adam_prox_step"
KEPT_RELEASES = 50  # older ones are of no use to anybody: a gateway goes back by one, not by fifty
ROLLED_BACK = "rolled_back"  # the rule of a release that has the parameters of an earlier one
KEPT_HISTORY = 20  # times as many, of what happened to them: some hundred bytes each


def golden_vectors(score_graph: bytes, parameters: Parameters, inputs: int) -> bytes:
    """Compute what a gateway must reproduce before it takes a release into use."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(score_graph, options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(GOLDEN_SEED).standard_normal((GOLDEN_ROWS, inputs)).astype(np.float32)
    (score,) = session.run(["score"], {"x": x, "theta": parameters})
    return golden_file(x, score)


def first_release(
    graphs: Path,
    signer: Signer,
    *,
    created_at_us: int,
    rule: str = LEARNING_RULE,
    levels: Mapping[str, MergeLevel] | None = None,
    parameters: Parameters | None = None,
    seed: int = 0,
    name: str = "undertone",
    version: int = 1,
    data: Mapping[str, int] | None = None,
    metrics: Mapping[str, float] | None = None,
    knowledge: Mapping[str, bytes] | None = None,
) -> Release:
    """Make a release from a folder of graphs, with parameters given or drawn from a seed.

    Args:
        graphs: A folder built by `aggregator foundry`.
        signer: Who vouches for it.
        created_at_us: Microseconds since 1970 UTC.
        rule: Which of the folder's training graphs gateways are to learn by.
        levels: Parts of the parameters that are not merged across the fleet (`schemas.parameter_levels`).
        parameters: Theta, shape (P,); the family's first values if None.
        seed: For those first values.
        name: Name of the release.
        version: Its number.
        data: Counts of what the parameters were learnt from.
        metrics: Losses on data held back.
        knowledge: Files beside the model: `schemas.release.VARIATION`, `LIVES`, `TEACHER`.

    Raises:
        ArtefactError: The folder is incomplete or altered.
        UnknownNameError: It has no graph of that rule.
        ReleaseRejected: The parameters do not fit.
    """
    spec = BuiltSpec.load(graphs)
    count = spec.parameter_spec.count
    if rule not in spec.graphs:
        raise UnknownNameError("training graph", rule, sorted(spec.graphs.keys() - {"score"}))
    if parameters is None:
        parameters = family_named(spec.family, spec.features).initial_theta(seed)
    score, step = (
        read_checked(graphs, spec.graphs[graph].file, spec.graphs[graph].sha256) for graph in ("score", rule)
    )
    description = {
        "name": name,
        "release_version": version,
        "created_at_us": created_at_us,
        "level": "builtin",
        "family": spec.family,
        "features": FEATURE_LAYOUT,
        "inputs": spec.features,
        "parameter_count": count,
        "data": dict(data or {}),
        "metrics": dict(metrics or {}),
        "levels": dict(levels or {}),
    }
    files = {SPEC: (graphs / SPEC_FILE).read_bytes(), SCORE: score, TRAIN_STEP: step, **(knowledge or {})}
    return _sign(description, files, parameters, signer)


def next_release(
    parent: Release,
    parameters: Parameters,
    signer: Signer,
    *,
    version: int,
    level: Level,
    created_at_us: int,
    data: Mapping[str, int],
    metrics: Mapping[str, float],
    merge: Mapping[str, str | int | float],
    knowledge: Mapping[str, bytes] | None = None,
) -> Release:
    """Make a release of the parent's graphs with other parameters.

    Raises:
        ReleaseRejected: The parameters do not fit, or are not finite.
    """
    description = {
        **parent.manifest.model_dump(exclude={"files"}),
        "release_version": version,
        "base_version": parent.version,
        "created_at_us": created_at_us,
        "level": level,
        "data": dict(data),
        "metrics": dict(metrics),
        "merge": dict(merge),
    }
    kept = {n: blob for n, blob in parent.files.items() if n not in {MANIFEST, SIGNATURE, PARAMETERS, GOLDEN}}
    return _sign(description, {**kept, **(knowledge or {})}, parameters, signer)


def _sign(
    description: Mapping[str, Any], files: Mapping[str, bytes], parameters: Parameters, signer: Signer
) -> Release:
    if parameters.shape != (description["parameter_count"],) or not np.isfinite(parameters).all():
        raise ReleaseRejected(
            "wrong_shape" if np.isfinite(parameters).all() else "not_finite",
            f"parameters of shape {parameters.shape} cannot make a release of {description['parameter_count']}",
        )
    golden = golden_vectors(files[SCORE], parameters, description["inputs"])
    theta = np.ascontiguousarray(parameters, "<f4").tobytes()
    return make_release(description, {**files, PARAMETERS: theta, GOLDEN: golden}, signer)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a release has come, as the registry has it.

    Attributes:
        version: Of the release.
        state: candidate | current | superseded | withdrawn.
        stage: See `aggregator.rollout_plan`; None before it has set out.
        share: In `staged`.
        since_us: When it came into this stage.
        paused: Whether a person has stopped it there.
        asked: What a person wants of it: action, actor, note.
        order: Gateways in the order in which they take it.
        brings_back: Whether it brings back what was good before: nobody but a person takes that back in turn.
    """

    version: int
    state: str
    stage: Stage | None
    share: float
    since_us: int
    paused: bool
    asked: dict[str, str] | None
    order: tuple[str, ...]
    brings_back: bool


class Registry:
    """The releases in the database. One is current: in use on every gateway, or offered to it.

    Attributes:
        staged: Whether a new one is a candidate first, for `aggregator.rollout` to bring out; else current at once.
    """

    def __init__(
        self, engine: Engine, signer: Signer, clock_us: Callable[[], int], *, staged: bool = False
    ) -> None:  # fmt: skip
        self._engine = engine
        self._signer = signer
        self._clock_us = clock_us
        self.staged = staged

    def start_with(self, first: Release) -> Release:
        """Put a release into an empty registry, as it is; return the current one."""
        with writing(self._engine) as connection:
            if self._newest_row(connection) is None:
                self._insert(connection, first, "current", "everywhere")
        return self.current()

    def current(self) -> Release:
        """The release that runs, or is to run, on every gateway: the newest that was not withdrawn.

        Learning goes on from it while it is still on its way.

        Raises:
            ReleaseRejected: The registry is empty, or its row was damaged.
        """
        with self._engine.connect() as connection:
            return self._newest(connection)

    def release(self, version: int) -> Release | None:
        """One release by its version; None when it is not kept."""
        query = sa.select(release_table.c.bundle).where(release_table.c.release_version == version)
        with self._engine.connect() as connection:
            bundle = connection.execute(query).scalar()
        return None if bundle is None else read_release_bundle(bundle, KeyRing([]))

    def publish(
        self,
        connection: Connection,
        parameters: Parameters,
        *,
        level: Level,
        data: Mapping[str, int],
        metrics: Mapping[str, float],
        merge: Mapping[str, str | int | float],
        above_version: int = 0,
        knowledge: Mapping[str, bytes] | None = None,
    ) -> Release:
        """Make the next release and make it current, or a candidate, within the caller's transaction.

        Its version is above every one here, and above `above_version`: a site that has lost its database must still
        get above what its gateways have in use, they take nothing older.

        Raises:
            ReleaseRejected: The parameters cannot be released.
        """
        made = next_release(
            self._newest(connection), parameters, self._signer, version=self._next_version(connection, above_version),
            level=level, created_at_us=self._clock_us(), data=data, metrics=metrics, merge=merge, knowledge=knowledge,
        )  # fmt: skip
        if self.staged:
            self._insert(connection, made, "candidate", None)
        else:
            self._supersede(connection)
            self._insert(connection, made, "current", "everywhere")
        self._forget_old(connection, made.version)
        return made

    def standings(self) -> list[Standing]:
        """Candidates and the current release, oldest first."""
        columns = [c for c in release_table.c if c.name != "bundle"]
        query = sa.select(*columns).where(release_table.c.state.in_(("candidate", "current")))
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(release_table.c.release_version)).all()
        return [
            Standing(
                row.release_version, row.state, row.stage, row.stage_share or 0.0, row.stage_at_us or 0, row.paused,
                row.asked, tuple((row.evidence or {}).get("order", ())),
                row.manifest.get("merge", {}).get("rule") == ROLLED_BACK,
            )
            for row in rows
        ]  # fmt: skip

    def set_out(self, version: int, order: Sequence[str]) -> None:
        """Begin to bring a candidate out; candidates before it that have not begun are passed over."""
        t = release_table.c
        with writing(self._engine) as connection:
            connection.execute(
                sa.update(release_table)
                .where(t.state == "candidate", t.release_version < version, t.stage.is_(None))
                .values(state="passed_over", stage_text=f"passed over: release {version} came before it set out")
            )
            self._enter(connection, version, "shadow", 0.0, "learnt, and not tried yet", {}, order=order)

    def enter(
        self, version: int, stage: Stage, share: float, text: str, figures: Mapping[str, float], *, actor: str
    ) -> None:
        """Write down the next stage of a release; the last one makes it current."""
        with writing(self._engine) as connection:
            if stage == "everywhere":
                self._supersede(connection)
                connection.execute(
                    sa.update(release_table).where(release_table.c.release_version == version).values(state="current")
                )
            self._enter(connection, version, stage, share, text, figures, actor=actor)

    def note(self, version: int, text: str, figures: Mapping[str, float]) -> None:
        """Write down what a release waits for."""
        with writing(self._engine) as connection:
            evidence = self._evidence(connection, version)
            connection.execute(
                sa.update(release_table)
                .where(release_table.c.release_version == version)
                .values(stage_text=text, evidence={**evidence, "figures": dict(figures)})
            )

    def answered(self, version: int) -> None:
        """What a person asked of a release has been done, or cannot be."""
        with writing(self._engine) as connection:
            connection.execute(
                sa.update(release_table).where(release_table.c.release_version == version).values(asked=None)
            )

    def withdraw(
        self, version: int, text: str, figures: Mapping[str, float], *, actor: str, above_version: int = 0
    ) -> Release | None:
        """Take a release back, and candidates that were learnt on it.

        Where it may run already, the parameters and knowledge of the last good release go out to every gateway as a
        new release: versions only go up, so what was withdrawn cannot come back by replay.

        Args:
            version: Of the release to take back.
            text: Why.
            figures: What that was decided on.
            actor: Who decided.
            above_version: Highest version that any gateway says it runs.

        Returns:
            The release that brings the good one back; None where the bad one ran nowhere, or nothing is before it.
        """
        t = release_table.c
        with writing(self._engine) as connection:
            row = connection.execute(sa.select(t.state, t.stage).where(t.release_version == version)).one()
            good = connection.execute(
                sa.select(t.bundle)
                .where(t.release_version < version, t.state.in_(("current", "superseded")))
                .order_by(t.release_version.desc())
                .limit(1)
            ).scalar()
            if row.state == "current" and good is None:
                return None
            connection.execute(
                sa.update(release_table)
                .where(t.state == "candidate", t.release_version > version)
                .values(state="withdrawn", stage_text=f"learnt on release {version}, which was withdrawn")
            )
            connection.execute(sa.update(release_table).where(t.release_version == version).values(state="withdrawn"))
            self._enter(connection, version, "withdrawn", 0.0, text, figures, actor=actor)
            if row.stage in {None, "shadow"} or good is None:
                return None
            before = read_release_bundle(good, KeyRing([]))
            made = next_release(
                before, before.parameters(), self._signer, version=self._next_version(connection, above_version),
                level=before.manifest.level, created_at_us=self._clock_us(), data=before.manifest.data,
                metrics=before.manifest.metrics,
                merge={"rule": ROLLED_BACK, "to": before.version, "from": version, "reason": text[:200]},
            )  # fmt: skip
            self._supersede(connection)
            self._insert(connection, made, "current", None)
            why = f"release {before.version} again, because {version} was withdrawn: {text}"
            self._enter(connection, made.version, "everywhere", 0.0, why, {}, actor=actor)
            return made

    def _enter(
        self, connection: Connection, version: int, stage: Stage, share: float, text: str,
        figures: Mapping[str, float], *, actor: str = "rollout", order: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        now_us = self._clock_us()
        evidence = self._evidence(connection, version)
        evidence |= {"figures": dict(figures)} | ({} if order is None else {"order": list(order)})
        connection.execute(
            sa.update(release_table)
            .where(release_table.c.release_version == version)
            .values(
                stage=stage, stage_share=share, stage_at_us=now_us, stage_text=text, asked=None, evidence=evidence,
            )
        )  # fmt: skip
        connection.execute(
            sa.insert(release_event_table).values(
                release_version=version, at_us=now_us, stage=stage, actor=actor, text=text, evidence=dict(figures)
            )
        )

    @staticmethod
    def _evidence(connection: Connection, version: int) -> dict[str, Any]:
        query = sa.select(release_table.c.evidence).where(release_table.c.release_version == version)
        return dict(connection.execute(query).scalar() or {})

    @staticmethod
    def _supersede(connection: Connection) -> None:
        connection.execute(
            sa.update(release_table).where(release_table.c.state == "current").values(state="superseded")
        )

    @staticmethod
    def _next_version(connection: Connection, above_version: int) -> int:
        newest = connection.execute(sa.select(sa.func.max(release_table.c.release_version))).scalar_one()
        return int(max(newest, above_version)) + 1

    @staticmethod
    def _forget_old(connection: Connection, version: int) -> None:
        t = release_table.c
        connection.execute(
            sa.delete(release_table).where(
                t.release_version <= version - KEPT_RELEASES,
                t.state != "current",
                (t.state != "candidate") | t.stage.is_(None),
            )
        )
        connection.execute(
            sa.delete(release_event_table).where(
                release_event_table.c.release_version <= version - KEPT_HISTORY * KEPT_RELEASES
            )
        )

    def _insert(self, connection: Connection, release: Release, state: str, stage: Stage | None) -> None:
        connection.execute(
            sa.insert(release_table).values(
                release_version=release.version,
                digest=release.digest,
                level=release.manifest.level,
                state=state,
                created_at_us=release.manifest.created_at_us,
                manifest=release.manifest.model_dump(mode="json"),
                bundle=release.bundle(),
                stage=stage,
                stage_at_us=None if stage is None else self._clock_us(),
            )
        )

    def _newest(self, connection: Connection) -> Release:
        bundle = self._newest_row(connection)
        if bundle is None:
            raise ReleaseRejected("none", "the registry is empty; start_with comes first")
        return read_release_bundle(bundle, KeyRing([]))

    @staticmethod
    def _newest_row(connection: Connection) -> bytes | None:
        query = sa.select(release_table.c.bundle).where(release_table.c.state.in_(("candidate", "current")))
        return connection.execute(query.order_by(release_table.c.release_version.desc()).limit(1)).scalar()

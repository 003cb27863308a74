"""This file knows the releases of a site or an enterprise: how merged parameters become one, and which is current."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection, Engine

from aggregator.database import writing
from aggregator.foundry.artefacts import SPEC_FILE, BuiltSpec, read_checked
from aggregator.foundry.families import family_named
from schemas.errors import ReleaseRejected
from schemas.feature_layout import FEATURE_LAYOUT
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

Level = Literal["builtin", "fleet", "site"]
Parameters = NDArray[np.float32]

GOLDEN_ROWS = 16
GOLDEN_SEED = 20
LEARNING_RULE = "adam_prox_step"
KEPT_RELEASES = 50  # older ones are of no use to anybody: a gateway goes back by one, not by fifty


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
        parameters: Theta, shape (P,); the family's first values if None.
        seed: For those first values.
        name: Name of the release.
        version: Its number.
        data: Counts of what the parameters were learnt from.
        metrics: Losses on data held back.
        knowledge: Files beside the model: `schemas.release.VARIATION`, `LIVES`.

    Raises:
        ArtefactError: The folder is incomplete or altered.
        ReleaseRejected: The parameters do not fit.
    """
    spec = BuiltSpec.load(graphs)
    count = spec.parameter_spec.count
    if parameters is None:
        parameters = family_named(spec.family, spec.features).initial_theta(seed)
    score, step = (
        read_checked(graphs, spec.graphs[graph].file, spec.graphs[graph].sha256) for graph in ("score", LEARNING_RULE)
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


class Registry:
    """The releases in the database; one of them is current."""

    def __init__(self, engine: Engine, signer: Signer, clock_us: Callable[[], int]) -> None:
        self._engine = engine
        self._signer = signer
        self._clock_us = clock_us

    def start_with(self, first: Release) -> Release:
        """Put a release into an empty registry, as it is; return the current one."""
        with writing(self._engine) as connection:
            if self._current_row(connection) is None:
                self._insert(connection, first)
        return self.current()

    def current(self) -> Release:
        """The release that runs, or is to run, on every gateway.

        Raises:
            ReleaseRejected: The registry is empty, or its row was damaged.
        """
        with self._engine.connect() as connection:
            bundle = self._current_row(connection)
        if bundle is None:
            raise ReleaseRejected("none", "the registry is empty; start_with comes first")
        return read_release_bundle(bundle, KeyRing([]))

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
        """Make the next release and make it current, within the caller's transaction.

        Its version is above every one here, and above `above_version`: a site that has lost its database must still
        get above what its gateways have in use, they take nothing older.

        Raises:
            ReleaseRejected: The parameters cannot be released.
        """
        bundle = self._current_row(connection)
        if bundle is None:
            raise ReleaseRejected("none", "the registry is empty; start_with comes first")
        parent = read_release_bundle(bundle, KeyRing([]))
        newest = connection.execute(sa.select(sa.func.max(release_table.c.release_version))).scalar_one()
        made = next_release(
            parent, parameters, self._signer, version=max(newest, above_version) + 1, level=level,
            created_at_us=self._clock_us(), data=data, metrics=metrics, merge=merge,
            knowledge=knowledge,
        )  # fmt: skip
        connection.execute(
            sa.update(release_table).where(release_table.c.state == "current").values(state="superseded")
        )
        self._insert(connection, made)
        connection.execute(
            sa.delete(release_table).where(release_table.c.release_version <= made.version - KEPT_RELEASES)
        )
        return made

    def _insert(self, connection: Connection, release: Release) -> None:
        connection.execute(
            sa.insert(release_table).values(
                release_version=release.version,
                digest=release.digest,
                level=release.manifest.level,
                state="current",
                created_at_us=release.manifest.created_at_us,
                manifest=release.manifest.model_dump(mode="json"),
                bundle=release.bundle(),
            )
        )

    @staticmethod
    def _current_row(connection: Connection) -> bytes | None:
        query = sa.select(release_table.c.bundle).where(release_table.c.state == "current")
        return connection.execute(query.order_by(release_table.c.release_version.desc()).limit(1)).scalar()

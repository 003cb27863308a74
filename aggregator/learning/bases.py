"""This file knows which releases an update may have been learnt from: those of the registry, by what they hold."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from schemas.release import PARAMETERS, TRAIN_STEP
from schemas.site_tables import release

OTHER_MODEL = "other_model"  # why an update does not count that was learnt on another network, or by another rule


def version_learnt_from(connection: Connection, parameters: str, graph: str | None = None) -> int | None:
    """Version of the newest release that has these parameters, and this training graph.

    Args:
        connection: To the registry's database.
        parameters: sha256 of theta's bytes.
        graph: sha256 of the training graph of the release in use; an update through another one does not fit. None:
            whichever it has.
    """
    query = sa.select(release.c.release_version, release.c.manifest).order_by(release.c.release_version.desc())
    for version, manifest in connection.execute(query):
        files = manifest["files"]
        if files[PARAMETERS]["sha256"] == parameters and graph in {None, files[TRAIN_STEP]["sha256"]}:
            return int(version)
    return None


def graphs_of(connection: Connection, versions: Iterable[int]) -> dict[int, str]:
    """Version of a release -> sha256 of its training graph, of those that are kept."""
    query = sa.select(release.c.release_version, release.c.manifest)
    rows = connection.execute(query.where(release.c.release_version.in_(sorted(set(versions)))))
    return {row.release_version: row.manifest["files"][TRAIN_STEP]["sha256"] for row in rows}

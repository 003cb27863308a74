"""This file knows which releases an update may have been learnt from: those of the registry, by their parameters."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from schemas.release import PARAMETERS, TRAIN_STEP
from schemas.site_tables import release


def version_learnt_from(connection: Connection, parameters: str, graph: str) -> int | None:
    """Version of the newest release that has these parameters and this training graph.

    Args:
        connection: To the registry's database.
        parameters: sha256 of theta's bytes.
        graph: sha256 of the training graph of the release in use; an update through another one does not fit.
    """
    query = sa.select(release.c.release_version, release.c.manifest).order_by(release.c.release_version.desc())
    for version, manifest in connection.execute(query):
        files = manifest["files"]
        if files[PARAMETERS]["sha256"] == parameters and files[TRAIN_STEP]["sha256"] == graph:
            return int(version)
    return None

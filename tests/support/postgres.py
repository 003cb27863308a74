"""A PostgreSQL server of its own for tests: on a socket in a folder of its own, gone with the `with` block.

It will not run as root: then its processes run as the user `postgres`, who comes with the Debian package.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.plant import wait_until

PROGRAMS = ("initdb", "postgres", "pg_dump", "pg_restore")


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Start a server with one empty database; its SQLAlchemy URL. Skips the test where PostgreSQL is not installed."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} NOT INSTALLED OR NOT ON THE PATH: `apt install postgresql`; not tested")
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None and user not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("RUNNING AS ROOT AND THERE IS NO USER postgres: `apt install postgresql`; not tested")
    folder = Path(tempfile.mkdtemp(prefix="ut-pg-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        initdb = ["initdb", "--no-sync", "--auth=trust", "--username=ut", "--encoding=UTF8", "-D", str(folder / "data")]
        subprocess.run(initdb, user=user, check=True, capture_output=True, cwd=folder)
        serve = ["postgres", "-D", str(folder / "data"), "-k", str(folder), "-c", "listen_addresses=", "-F"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(serve, user=user, stdout=log, stderr=log, cwd=folder)
        try:
            url = f"postgresql+psycopg://ut@/postgres?host={folder}"
            wait_until("PostgreSQL answers", lambda: _answers(url), within_s=30.0, every_s=0.05)
            yield url
        finally:
            server.terminate()
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    engine = sa.create_engine(url)
    try:
        engine.connect().close()
    except sa.exc.OperationalError:
        return False
    finally:
        engine.dispose()
    return True

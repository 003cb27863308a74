"""This file knows how a PostgreSQL server of its own is had for measuring: in a folder of its own, gone afterwards."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

USER = "bench"
DEBIAN_PROGRAMS = Path("/usr/lib/postgresql")
SERVES_WITHIN_S = 30.0


class NoServer(LookupError):
    """There is no PostgreSQL here, or nobody it would run as."""


def programs() -> tuple[Path, Path, str | None]:
    """`initdb`, `postgres` and the user they run as; None for ourselves.

    Raises:
        NoServer: One of them is missing.
    """
    folders = [*map(Path, os.environ["PATH"].split(":")), *sorted(DEBIAN_PROGRAMS.glob("*/bin"), reverse=True)]
    folder = next((one for one in folders if all((one / name).is_file() for name in ("initdb", "postgres"))), None)
    if folder is None:
        raise NoServer("POSTGRESQL IS NOT INSTALLED: nothing to store into (apt install postgresql)")
    if os.geteuid() != 0:
        return folder / "initdb", folder / "postgres", None
    if "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        raise NoServer("POSTGRESQL DOES NOT RUN AS ROOT, and there is no user postgres (apt install postgresql)")
    return folder / "initdb", folder / "postgres", "postgres"


@contextlib.contextmanager
def postgresql() -> Iterator[Path]:
    """Run a server with one empty database; yield the folder of its socket.

    Raises:
        NoServer: As in `programs`.
        TimeoutError: It does not serve.
    """
    initdb, postgres, user = programs()
    folder = Path(tempfile.mkdtemp(prefix="undertone-bench-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        make = [str(initdb), "--auth=trust", f"--username={USER}", "--encoding=UTF8", "-D", str(folder / "data")]
        subprocess.run(make, user=user, check=True, capture_output=True, cwd=folder)
        serve = [str(postgres), "-D", str(folder / "data"), "-k", str(folder), "-c", "listen_addresses="]
        with subprocess.Popen(serve, user=user, stderr=subprocess.DEVNULL, cwd=folder) as server:
            try:
                _wait_until_it_serves(folder)
                yield folder
            finally:
                server.terminate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_serves(folder: Path) -> None:
    until_s = time.monotonic() + SERVES_WITHIN_S
    while True:
        try:
            psycopg.connect(host=str(folder), user=USER, dbname="postgres").close()
        except psycopg.OperationalError as error:
            if time.monotonic() > until_s:
                raise TimeoutError(f"PostgreSQL does not serve after {SERVES_WITHIN_S:.0f} s: {error}") from error
            time.sleep(0.1)
        else:
            return

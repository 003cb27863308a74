"""A site's database in memory of its own file, at the version of the code."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from aggregator.database import open_current
from schemas.database import sqlite_url


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_current(sqlite_url(tmp_path / "site.db"))
    yield opened
    opened.dispose()

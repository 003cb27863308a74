"""A plant's database, filled once and only read; tests that write take a copy."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard import runtime
from dashboard.runtime import Dashboard
from tests.support.dashboards import make_dashboard
from tests.support.site_database import build_site_database


@pytest.fixture(scope="session")
def plant_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plant") / "site.db"
    build_site_database(path, days=2.0).dispose()
    return path


@pytest.fixture
def plant_copy(plant_database: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(plant_database, tmp_path / "site.db"))


@pytest.fixture
def board(plant_copy: Path, tmp_path: Path) -> Iterator[Dashboard]:
    """The dashboard of a full plant, installed for pages."""
    made = make_dashboard(tmp_path, plant_copy)
    runtime.install(made)
    yield made
    runtime.install(None)

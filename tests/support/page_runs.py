"""One run of a page without a browser: AppTest, a dashboard over a copy of a database, and what the page said."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine
from streamlit.testing.v1 import AppTest

from dashboard import runtime
from schemas.database import open_database, sqlite_url
from tests.support.dashboards import make_dashboard
from tests.support.site_database import NOW_US


@contextmanager
def copied_database(original: Path, folder: Path) -> Iterator[Engine]:
    """A copy that one test may change; afterwards no dashboard is installed any more."""
    path = folder / "site.db"
    path.write_bytes(original.read_bytes())
    opened = open_database(sqlite_url(path))
    try:
        yield opened
    finally:
        opened.dispose()
        runtime.install(None)


def run_page(
    script: Callable[[], None], engine: Engine, folder: Path, *, role: str = "engineer", language: str = "en",
    now_us: int = NOW_US, **query: str,
) -> AppTest:  # fmt: skip
    """Run a page once for A. Schmidt; `query` is what stands in its address.

    Raises:
        AssertionError: The page ended in an exception.
    """
    board = make_dashboard(folder, Path(str(engine.url.database)), role=role, now_us=now_us)  # type: ignore[arg-type]
    runtime.install(board)
    page = AppTest.from_function(script, default_timeout=60)
    page.session_state["session_word"] = board.door.admit("A. Schmidt")[1]
    page.session_state["language"] = language
    for name, value in query.items():
        page.query_params[name] = value
    page.run()
    assert not page.exception, page.exception
    return page


def words_of(*kinds: Any) -> str:
    """Value and label of every element of these kinds, as text."""
    return "\n".join(
        f"{getattr(element, 'value', '')}\n{getattr(element, 'label', '')}" for kind in kinds for element in kind
    )

"""What holds for every test."""

import sys
from collections.abc import Iterator

import pytest

MAIN = sys.modules["__main__"]


@pytest.fixture(autouse=True)
def main_module_stays() -> Iterator[None]:
    """Streamlit's AppTest puts its script in place of the main module; a process that a test starts would import it."""
    sys.modules["__main__"] = MAIN
    yield
    sys.modules["__main__"] = MAIN

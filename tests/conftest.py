"""What holds for every test."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

MAIN = sys.modules["__main__"]

settings.register_profile("undertone", deadline=None)  # of one example; a busy machine breaks no promise of ours
settings.load_profile("undertone")


@pytest.fixture(autouse=True)
def main_module_stays() -> Iterator[None]:
    """Streamlit's AppTest puts its script in place of the main module; a process that a test starts would import it."""
    sys.modules["__main__"] = MAIN
    yield
    sys.modules["__main__"] = MAIN

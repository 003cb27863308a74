"""Every row of the fault table has its test, and every test that the delivery contract names is there."""

import ast
import re
from functools import cache
from pathlib import Path

from tests.faults.fault_rows import ROWS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "delivery.md"
OURS = [*range(1, 27)]
TEST_ID = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_row_of_the_fault_table_has_tests_that_are_there() -> None:
    assert list(ROWS) == OURS
    for number, row in ROWS.items():
        assert row.tests, f"row {number}, {row.fault}, has no test"
        for test in row.tests:
            path, name = test.split("::")
            assert name in names_in(path), f"row {number}: {test}"


def test_every_fault_test_belongs_to_a_row() -> None:
    named = {test for row in ROWS.values() for test in row.tests}
    for path in sorted((ROOT / "tests" / "faults").glob("test_*.py")):
        if path.name == Path(__file__).name:
            continue
        place = f"tests/faults/{path.name}"
        for name in sorted(names_in(place)):
            assert not name.startswith("test_") or f"{place}::{name}" in named, f"{place}::{name} is in no row"


def test_every_test_the_delivery_contract_names_is_there_and_every_row_is_on_its_page() -> None:
    text = PAGE.read_text()
    named = TEST_ID.findall(text)
    assert len(named) > 20
    for path, name in named:
        assert name in names_in(path), f"{path}::{name}"
    for number in OURS:
        assert re.search(rf"^\| {number} \|", text, re.MULTILINE), f"row {number} is not on the page"

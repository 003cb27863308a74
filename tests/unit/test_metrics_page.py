"""docs/metrics.md names every metric there is, and no other."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator import figures as aggregator_figures
from aggregator import meters as aggregator_meters
from gateway_agent import figures as gateway_figures
from gateway_agent import meters as gateway_meters

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
AGENTS = {
    "gateway": (gateway_figures.FIGURES, gateway_meters),
    "aggregator": (aggregator_figures.FIGURES, aggregator_meters),
}


def lines_of(agent: str) -> Iterator[str]:
    """The rows of one agent's table."""
    figures, meters = AGENTS[agent]
    for figure in figures:
        yield f"| `{meters.PREFIX}{figure.name}` | {figure.kind} | {figure.label} | {figure.text} |"
    for family in meters.Meters().families():
        yield f"| `{family.name}` | {family.kind} |  | {family.text} |"


@pytest.mark.parametrize("agent", AGENTS)
def test_every_metric_stands_on_the_page_with_its_words(agent: str) -> None:
    missing = [line for line in lines_of(agent) if line not in PAGE.read_text().splitlines()]
    assert not missing, "add to docs/metrics.md:\n" + "\n".join(missing)


def test_the_page_and_its_rules_name_no_metric_that_is_not_there() -> None:
    known = {name for agent in AGENTS for line in lines_of(agent) for name in re.findall(r"undertone_\w+", line)}
    named = set(re.findall(r"undertone_(?:gateway|aggregator)_\w+", PAGE.read_text()))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) if name not in known else name for name in named} <= known

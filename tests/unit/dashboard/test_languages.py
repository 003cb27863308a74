"""Every text of the screen is there in every language, with the same values in it."""

import ast
import string
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import dashboard
from dashboard.languages import ENGLISH, LANGUAGES, catalogue, language, speaking, tr

CODE = Path(dashboard.__file__).parent
OTHERS = sorted(set(LANGUAGES) - {ENGLISH})


def _said_in_code() -> Iterator[tuple[str, str]]:
    """Every text given to `tr`, and where; also both arms of `tr("a" if x else "b")`."""
    for path in sorted(CODE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tr" and node.args:
                for part in ast.walk(node.args[0]):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value, f"{path.relative_to(CODE)}:{part.lineno}"


def _values(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("code", OTHERS)
def test_every_text_in_the_code_has_a_translation(code: str) -> None:
    missing = {where: text for text, where in _said_in_code() if text not in catalogue(code)}
    assert missing == {}


@pytest.mark.parametrize("code", OTHERS)
def test_translations_hold_the_same_values(code: str) -> None:
    different = {text: said for text, said in catalogue(code).items() if _values(text) != _values(said)}
    assert different == {}


@pytest.mark.parametrize("code", OTHERS)
def test_two_catalogues_do_not_say_the_same_text_differently(code: str) -> None:
    known: dict[str, tuple[str, str]] = {}
    for path in sorted((CODE / "languages" / code).glob("*.toml")):
        for text, said in tomllib.loads(path.read_text("utf-8")).items():
            other, where = known.setdefault(text, (said, path.name))
            assert said == other, f"{text!r}: {path.name} says {said!r}, {where} says {other!r}"


def test_text_without_translation_stays_english() -> None:
    with speaking("de"):
        assert tr("no such text {n}", n=1) == "no such text 1"


def test_outside_a_page_english_is_spoken() -> None:
    assert language() == ENGLISH


def test_unknown_language_is_refused() -> None:
    with pytest.raises(KeyError), speaking("xx"):
        pass

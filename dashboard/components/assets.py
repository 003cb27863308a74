"""This file knows where the browser's side of our components is: files beside this one, sent inline."""

from importlib import resources


def asset(name: str) -> str:
    """Read one script or style sheet of this package."""
    return resources.files("dashboard.components").joinpath(name).read_text(encoding="utf-8")

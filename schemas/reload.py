"""This file knows how changed settings are told apart: what a running service takes over, and what needs a restart."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from schemas.settings import Settings

_S = TypeVar("_S", bound=Settings)


@dataclass(frozen=True, slots=True)
class Changes:
    """Names of settings, as they stand in the TOML: `alarm.on_count`, `machines`."""

    now: tuple[str, ...]
    at_restart: tuple[str, ...]


def compare(running: Settings, read: Settings, *, reloadable: Iterable[str]) -> Changes:
    """Name every setting that differs.

    Args:
        running: What is in force.
        read: What the file says now.
        reloadable: Settings and groups that can be taken over while running.
    """
    names = tuple(reloadable)
    changed = _differing(running, read)
    now = tuple(name for name in changed if _is_in(name, names))
    return Changes(now, tuple(name for name in changed if name not in now))


def _is_in(name: str, groups: Iterable[str]) -> bool:
    return any(name == group or name.startswith(f"{group}.") for group in groups)


def _differing(running: Settings, read: Settings, prefix: str = "") -> list[str]:
    names: list[str] = []
    for name in type(running).model_fields:
        before, after = getattr(running, name), getattr(read, name)
        if before == after:
            continue
        if isinstance(before, Settings) and isinstance(after, Settings):
            names += _differing(before, after, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


def take_over(running: _S, read: _S, names: Iterable[str]) -> _S:
    """The running settings with these taken from what was read."""
    merged = running
    for name in names:
        group, _, rest = name.partition(".")
        after = getattr(read, group)
        if rest:
            after = take_over(getattr(merged, group), after, [rest])
        merged = merged.model_copy(update={group: after})
    return merged

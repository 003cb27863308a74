"""Which settings differ is told by their names in the file."""

from schemas.reload import compare, take_over
from schemas.settings import Settings


class Group(Settings):
    size: int = 1
    wait_s: float = 0.5


class Whole(Settings):
    name: str = "a"
    group: Group = Group()
    other: Group | None = None
    machines: tuple[str, ...] = ()


def test_every_difference_is_named_and_only_what_can_be_is_taken_over() -> None:
    running = Whole()
    read = Whole(name="b", group=Group(size=2, wait_s=1.0), other=Group(), machines=("m",))
    changes = compare(running, read, reloadable=("group.size", "machines"))
    assert changes.now == ("group.size", "machines")
    assert changes.at_restart == ("name", "group.wait_s", "other")
    assert take_over(running, read, changes.now) == Whole(group=Group(size=2), machines=("m",))


def test_a_group_stands_for_everything_in_it() -> None:
    changes = compare(Whole(), Whole(group=Group(size=2, wait_s=1.0)), reloadable=("group",))
    assert changes.now == ("group.size", "group.wait_s")
    assert compare(Whole(), Whole(), reloadable=("group",)).now == ()

"""Every setting of an aggregator is either taken over by a reload, or has a word on why not."""

from aggregator.reload import NEEDS_RESTART, RELOADABLE
from aggregator.settings import AggregatorSettings


def test_every_setting_is_reloadable_or_says_why_not() -> None:
    groups = {name.partition(".")[0] for name in (*RELOADABLE, *NEEDS_RESTART)}
    assert groups == set(AggregatorSettings.model_fields)


def test_every_name_in_the_tables_is_a_setting() -> None:
    for name in (*RELOADABLE, *NEEDS_RESTART):
        group, _, rest = name.partition(".")
        assert not rest or rest in type(AggregatorSettings.model_fields[group].default).model_fields

"""This file knows which topics of other makers' sensors may be read: narrow ones, outside our own tree."""

import re

from schemas.errors import TopicError
from schemas.topics import ROOT

MAX_LEVELS = 16
_LEVEL = re.compile(r"[A-Za-z0-9._:=@-]{1,64}")


def check_foreign_filter(topic_filter: str) -> str:
    """Return a subscription of foreign topics when it can do no harm in an access list.

    `+` stands for one level; `#` does not, for it would also read what nobody has mapped.

    Raises:
        TopicError: It is too wide, of our own tree, or has characters that a broker's files could misread.
    """
    levels = topic_filter.split("/")
    if not 2 <= len(levels) <= MAX_LEVELS:
        raise TopicError(f"topic {topic_filter!r} has {len(levels)} levels, 2 to {MAX_LEVELS} allowed")
    for number, level in enumerate(levels, 1):
        if level != "+" and not _LEVEL.fullmatch(level):
            raise TopicError(
                f"topic {topic_filter!r}: level {number} is {level!r}; + or 1 to 64 of A-Z a-z 0-9 . _ : = @ - allowed"
            )
    own = ROOT.split("/")[0]
    if levels[0] in {"+", own}:
        raise TopicError(
            f"topic {topic_filter!r} starts with {levels[0]!r}; a word of the sensor's maker or site is needed there, "
            f"{own!r} is our own tree and a wildcard would read everybody's"
        )
    return topic_filter


def filters_overlap(one: str, other: str) -> bool:
    """Tell whether some topic belongs to both."""
    pairs = list(zip(one.split("/"), other.split("/"), strict=False))
    return one.count("/") == other.count("/") and all(a == b or "+" in {a, b} for a, b in pairs)

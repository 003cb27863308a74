"""This file knows what becomes of bad input: every piece is counted by its reason, the newest are kept to look at."""

from collections import Counter
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aggregator.intake import Refused
from schemas.site_tables import dead_letter, dead_letter_count


def write_refused(
    connection: Connection, refused: Sequence[Refused], *, keep_rows: int, now_us: int,
    only_counted: Mapping[str, int] | None = None,
) -> None:  # fmt: skip
    """Count what was refused, and keep the newest `keep_rows` of all.

    Args:
        connection: In a transaction.
        refused: Counted and kept.
        keep_rows: Of all that were ever kept.
        now_us: Now.
        only_counted: How many more came, by reason, of which a row is kept already.
    """
    counts = Counter(one.reason[:32] for one in refused)
    counts.update(only_counted or {})
    for reason, count in counts.items():
        of_reason = dead_letter_count.c.reason == reason
        changed = connection.execute(
            sa.update(dead_letter_count).where(of_reason).values(count=dead_letter_count.c.count + count)
        )
        if changed.rowcount == 0:
            connection.execute(sa.insert(dead_letter_count).values(reason=reason, count=count))
    if not refused:
        return
    connection.execute(
        sa.insert(dead_letter),
        [
            {
                "topic": one.topic[:300],
                "reason": one.reason[:32],
                "text": one.text,
                "at_us": now_us,
                "head": one.head,
                "size_bytes": one.size_bytes,
            }
            for one in refused[-keep_rows:]
        ],
    )
    newest = sa.select(dead_letter.c.letter_id).order_by(dead_letter.c.letter_id.desc()).limit(keep_rows)
    oldest_kept = connection.execute(sa.select(sa.func.min(newest.subquery().c.letter_id))).scalar_one()
    connection.execute(sa.delete(dead_letter).where(dead_letter.c.letter_id < oldest_kept))

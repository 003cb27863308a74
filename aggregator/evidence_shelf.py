"""This file knows how much evidence a site keeps of a point: the newest spectra, and of fewer the waveform too."""

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from schemas.errors import MessageRejected
from schemas.messages import Evidence
from schemas.site_tables import evidence

WAVEFORMS_KEPT: Final = 24  # of a point, each some 200 kB with all axes: what a person compares
EVIDENCE_KEPT: Final = 500  # of a point, each some 90 kB: years of alarms


def evidence_row(found: Evidence) -> dict[str, Any]:
    """The row of one piece of evidence, without its place in the gateway's sequence."""
    values = found.model_dump(include={"point", "measured_at_us", "why"})
    return {**values, "detail": found.model_dump(mode="json"), "waveform_samples": _samples(found)}


def _samples(found: Evidence) -> int | None:
    """How long the waveform is; None also for one that cannot be read, which a page then does not offer."""
    try:
        return None if found.waveform is None else found.waveform.unpack().size
    except MessageRejected:
        return None


def bound_evidence(connection: Connection, points: Iterable[str]) -> None:
    """Give up the oldest waveforms and the oldest evidence of points that have just got more."""
    for name in sorted(set(points)):
        of_point = evidence.c.point == name
        newest_first = (evidence.c.measured_at_us.desc(), evidence.c.sequence.desc())
        surplus = sa.select(*evidence.primary_key.columns).where(of_point).order_by(*newest_first).offset(EVIDENCE_KEPT)
        for row in connection.execute(surplus).all():
            connection.execute(sa.delete(evidence).where(_is(row)))
        with_waveform = (
            sa.select(*evidence.primary_key.columns, evidence.c.detail)
            .where(of_point, evidence.c.waveform_samples.is_not(None))
            .order_by(*newest_first)
            .offset(WAVEFORMS_KEPT)
        )
        for row in connection.execute(with_waveform).all():
            detail = {**row.detail, "waveform": None, "other_axes": []}
            connection.execute(sa.update(evidence).where(_is(row)).values(detail=detail, waveform_samples=None))


def _is(row: sa.Row[Any]) -> sa.ColumnElement[bool]:
    return sa.and_(*(column == getattr(row, column.name) for column in evidence.primary_key.columns))

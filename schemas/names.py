"""This file knows which names are safe in a topic, a certificate, a path and a table."""

import re
from typing import Annotated

from pydantic import AfterValidator

from schemas.errors import NameError_

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def check_name(name: str) -> str:
    """Return `name` when it is safe everywhere.

    A certificate whose common name is `gw1/x` could publish below another gateway's topics, and `#` or `+`
    are wildcards: so names are lower-case letters, digits and inner hyphens, 1 to 32 of them.

    Raises:
        NameError_: The name has another form.
    """
    if not _NAME.fullmatch(name):
        raise NameError_(
            f"name {name!r} found; 1 to 32 lower-case letters, digits and hyphens allowed, first no hyphen"
        )
    return name


def check_point(point: str) -> str:
    """Return `point` when it is `machine/position`.

    Raises:
        NameError_: One of the two parts is missing or no safe name.
    """
    machine, _, position = point.partition("/")
    check_name(machine)
    check_name(position)
    return point


def machine_of(point: str) -> str:
    """Name the machine on which a measurement point sits."""
    return point.partition("/")[0]


Name = Annotated[str, AfterValidator(check_name)]
"""A site, gateway, machine or position."""

PointId = Annotated[str, AfterValidator(check_point)]
"""A measurement point: `machine/position`, unique within a site."""

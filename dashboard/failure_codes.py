"""This file knows the codes that standards give to causes, beside the plain words: ISO 15243 and ISO 14224.

Numbers as the trade quotes them; the texts of the standards were not at hand, so they may be chosen differently.
"""

from dashboard.languages import tr

CAUSES = (
    "healthy", "outer", "inner", "ball", "cage", "imbalance", "misalignment", "looseness", "bent_shaft", "gear",
    "electrical", "unknown",
)  # fmt: skip
"""What a person may say a case really was; gateways learn from those they know."""

BEARING_CAUSES = frozenset({"outer", "inner", "ball", "cage"})

MECHANISM = {
    "healthy": "6.1", "outer": "2.6", "inner": "2.6", "ball": "2.6", "cage": "2.4", "imbalance": "1.2",
    "misalignment": "1.3", "looseness": "1.5", "bent_shaft": "1.4", "gear": "2.4", "electrical": "4.0",
    "unknown": "6.4",
}  # fmt: skip
"""Failure mechanism of ISO 14224:2016, table B.2, by cause; a damage mode of a bearing says it better."""


def bearing_modes() -> dict[str, tuple[str, str]]:
    """Damage modes of rolling bearings (ISO 15243:2017, clause 5) to words and the mechanism of ISO 14224."""
    return {
        "5.1.2": (tr("fatigue from below the surface"), "2.6"),
        "5.1.3": (tr("fatigue from the surface"), "2.6"),
        "5.2.2": (tr("abrasive wear"), "2.4"),
        "5.2.3": (tr("adhesive wear (smearing)"), "2.4"),
        "5.3.2": (tr("moisture corrosion"), "2.2"),
        "5.3.3.2": (tr("fretting corrosion"), "2.2"),
        "5.3.3.3": (tr("false brinelling"), "2.4"),
        "5.4.2": (tr("electrical erosion by excess current"), "4.0"),
        "5.4.3": (tr("electrical erosion by current leakage (fluting)"), "4.0"),
        "5.5.2": (tr("plastic deformation by overload"), "1.4"),
        "5.5.3": (tr("indentations from particles"), "1.4"),
        "5.6.2": (tr("forced fracture"), "2.5"),
        "5.6.3": (tr("fatigue fracture"), "2.5"),
        "5.6.4": (tr("thermal cracking"), "2.7"),
    }


def codes_of(cause: str, mode: str | None) -> dict[str, str]:
    """The codes that go with a label."""
    if mode is not None and cause in BEARING_CAUSES:
        return {"iso_15243": mode, "iso_14224": bearing_modes()[mode][1]}
    return {"iso_14224": MECHANISM[cause]}

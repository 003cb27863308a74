"""This file knows what the short names of fault lines stand for, as a person may tell it to another."""

from dashboard.languages import tr


def line_meaning(name: str) -> str:
    """What happens once in every period of a fault line; empty for a name that nobody knows here."""
    return {
        "BPFO": tr("a rolling element passes one spot of the outer race"),
        "BPFI": tr("a rolling element passes one spot of the inner race"),
        "2xBSF": tr("one spot of a rolling element strikes a race"),
        "FTF": tr("the cage turns once"),
        "1x": tr("the shaft turns once"),
        "GMF": tr("two gear teeth meet"),
    }.get(name, "")

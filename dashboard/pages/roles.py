"""This file knows how the roles are called, and what each may."""

from dashboard.languages import tr
from schemas.requests import Role


def role_word(role: Role) -> str:
    """The word for a role."""
    return {
        "viewer": tr("viewer"), "technician": tr("technician"), "analyst": tr("analyst"), "engineer": tr("engineer"),
        "admin": tr("administrator"),
    }[role]  # fmt: skip


def role_rights(role: Role) -> str:
    """What a role may, in one line; each may what those before it may."""
    return {
        "viewer": tr("sees everything, changes nothing"),
        "technician": tr("acknowledges, notes, shelves, records maintenance, orders work and spectra"),
        "analyst": tr("names causes and closes cases"),
        "engineer": tr("sets assets, limits, routes and releases"),
        "admin": tr("adds people, gives roles, reads the audit log"),
    }[role]

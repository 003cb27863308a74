"""This file knows what can go wrong in the proof harness.

VerdictsError
├── FolderUnfit      the data folder or a file in it cannot be used
└── ProductRefused   a command of the product ended with bad input, or broke its contract
"""


class VerdictsError(Exception):
    """The proof harness cannot go on; the message is one line for a person."""


class FolderUnfit(VerdictsError):
    """The data folder holds no recordings, or one that cannot be read."""


class ProductRefused(VerdictsError):
    """A command of the product did not do what its contract says; the message repeats its last line."""

"""This file knows the release that ships with the product: the model until the site has a better one."""

from importlib.resources import as_file, files

from gateway_agent.model_slot import ModelSlot
from gateway_agent.scoring import Model, StatisticalFallback
from schemas.release import MANIFEST, Release, read_release_folder
from schemas.signing import KeyRing

FOLDER = "builtin_release"


def builtin_release() -> Release | None:
    """Read the built-in release; None in a build without one. Signature and digests are checked like any other's."""
    folder = files("gateway_agent") / FOLDER
    if not (folder / MANIFEST).is_file():
        return None
    with as_file(folder) as path:
        return read_release_folder(path, KeyRing([]))


def builtin_model() -> Model:
    """The built-in model ready to score, or the statistical fallback."""
    release = builtin_release()
    if release is None:
        return StatisticalFallback()
    slot = ModelSlot()
    slot.load(release)
    return slot

"""The learning of an aggregator as a process of its own, to be killed: `python -m tests.support.learning_process FILE`.

FILE is an aggregator's settings; beside it lies the folder `first` with the release to start from. One round is run
as soon as all of three members are there.
"""

import sys
from pathlib import Path

from aggregator.database import open_current
from aggregator.learning.service import Learning
from aggregator.settings import AggregatorSettings
from schemas.release import read_release_folder
from schemas.settings import load_settings
from schemas.signing import KeyRing, Signer

MEMBERS = 3


def main(path: Path) -> None:
    settings = load_settings(AggregatorSettings, path, {})
    keys = KeyRing.load(settings.keys_file)
    learning = Learning(
        settings, open_current(settings.database), Signer.load(settings.signing_key_file), keys,
        first=read_release_folder(path.parent / "first", keys),
    )  # fmt: skip
    learning.start()
    learning.carrier.wait_members(MEMBERS, 20)
    learning.run_round()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

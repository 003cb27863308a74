"""A gateway agent as it was installed some time ago: `python -P installed_agent.py TREE run --settings FILE`.

TREE holds a copy of the gateway's packages; nothing else of this project can be imported, nor what makes graphs.
"""

import sys
from pathlib import Path


def main(tree: str, words: list[str]) -> int:
    sys.path[:0] = [tree, str(Path(__file__).parent)]
    from installed_gateway import NotInstalled  # type: ignore[import-not-found]

    sys.path.pop(1)
    sys.meta_path.insert(0, NotInstalled())
    from gateway_agent.command import main as agent

    return agent(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

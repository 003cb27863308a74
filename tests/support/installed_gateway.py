"""A gateway as it was installed some time ago, in a process of its own.

Started as `python -P installed_gateway.py TREE FOLDER KEY`: TREE holds a copy of the gateway's packages, FOLDER its
rows and its release shelf, KEY is the public key of its site. It takes frames on stdin and answers each on stdout: a
letter, then the content. Nothing of this project but TREE can be imported, and nothing that makes graphs.
"""

import json
import struct
import sys
from pathlib import Path

FRAME = struct.Struct("<cI")
NOT_INSTALLED = {"aggregator", "dashboard", "sensor_sim", "tests", "benchmarks", "jax", "jaxlib", "onnx"}


class NotInstalled:
    """Refuses what a gateway does not have, though this machine may."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name.split(".")[0] in NOT_INSTALLED:
            raise ModuleNotFoundError(f"a gateway has no {name}", name=name)


def main(tree: str, folder: Path, site_key: str) -> None:
    sys.path.insert(0, tree)
    sys.meta_path.insert(0, NotInstalled())  # type: ignore[arg-type]
    import numpy as np

    from gateway_agent.federation import make_client_app
    from gateway_agent.personal_parameters import PersonalShelf
    from gateway_agent.release_shelf import ReleaseShelf
    from schemas.flower_codec import answer, dump_message, load_message, new_context, take_identity
    from schemas.signing import AllowedKey, KeyRing

    take_identity(1)
    shelf = ReleaseShelf(folder / "releases", KeyRing([AllowedKey("site-a", "site", bytes.fromhex(site_key))]))
    shelf.open()
    rows = np.load(folder / "rows.npy")
    app = make_client_app(
        lambda: shelf.current, shelf.slot.train_step, lambda: rows, personal=PersonalShelf(folder)
    )  # fmt: skip

    def told(kind: bytes, content: bytes) -> bytes:
        match kind:
            case b"R":
                shelf.offer(content, offered_as=0)
                return json.dumps([shelf.current.version, shelf.problem]).encode()
            case b"M":
                message = load_message(content)
                return dump_message(answer(app, new_context(message.metadata.dst_node_id, {}), message))
            case b"S":
                return shelf.slot.score(np.frombuffer(content, "<f4").reshape(-1, rows.shape[1]))[0].tobytes()
            case _:
                origin = str(Path(sys.modules["gateway_agent"].__file__ or "").parent.parent)
                return json.dumps([origin, sorted({name.split(".")[0] for name in sys.modules})]).encode()

    while head := sys.stdin.buffer.read(FRAME.size):
        kind, size = FRAME.unpack(head)
        said = told(kind, sys.stdin.buffer.read(size))
        sys.stdout.buffer.write(FRAME.pack(kind, len(said)) + said)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])

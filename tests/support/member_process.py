"""A member of the learning as a process of its own, to be killed: `python -m tests.support.member_process FILE`.

FILE is JSON: broker settings, site, member, and the files of its key and of the list of keys. It echoes tasks.
"""

import json
import signal
import sys
import time
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from schemas.member_link import MemberLink, Membership
from schemas.settings import BrokerSettings
from schemas.signing import KeyRing, Signer

app = ClientApp()


@app.train()
def echo(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)


def main(path: Path) -> None:
    told = json.loads(path.read_text())
    MemberLink(
        BrokerSettings.model_validate(told["broker"]), Membership(told["site"], "site", told["member"]), app,
        signer=Signer.load(Path(told["signing_key"])), keys=KeyRing.load(Path(told["keys"])),
        clock_us=lambda: time.time_ns() // 1000,
    ).start()  # fmt: skip
    signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""This file knows how a folder is kept to one process: by a lock that ends with it, however it ends."""

import fcntl
import os
from pathlib import Path
from typing import IO

from schemas.errors import ContractError


class FolderInUse(ContractError):
    """Another process works in this folder."""


def keep_to_this_process(path: Path) -> IO[bytes]:
    """Lock a file for as long as what is returned stays open; a second lock within one process is no conflict.

    Raises:
        FolderInUse: Another process holds it; the message names it.
    """
    file = path.open("a+b")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read(32).decode(errors="replace").strip() or "unknown"
        file.close()
        raise FolderInUse(f"{path.parent} is in use by process {holder}; stop it first") from error
    except OSError:
        file.close()
        raise
    if os.geteuid() == 0:  # whoever the folder belongs to must be able to lock it too
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
    file.truncate(0)
    file.write(str(os.getpid()).encode())
    file.flush()
    return file

# SPDX-License-Identifier: MIT
"""Who else may look into a store: by default nobody, as its folders are 0700 and its files 0600.

LevelDB makes its files as the umask says, so the folder that holds them is closed instead. A store whose modes somebody
widened stays as it is: that may be meant.
"""

from __future__ import annotations

import os
import stat

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def open_to_others(path: str) -> list[str]:
    """What group or others may look into: the store's folder as ``"."``, and then its files and folders by name.

    Nothing where the store's own folder is closed, for then nothing below it can be reached.

    *Cost*: one look at each name in the store's folder, a dozen at most.
    """
    if not os.stat(path).st_mode & _OTHERS:
        return []
    found = ["."]
    with os.scandir(path) as entries:
        found += [entry.name for entry in entries if entry.stat(follow_symlinks=False).st_mode & _OTHERS]
    return sorted(found)

# SPDX-License-Identifier: MIT
"""States that may be given up when space is short, by functions that others registered on the store.

The store does not know what its states are worth; a search does. So whoever knows registers a function, which is asked
for a number of bytes before a collection near the quota.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from casstore.errors import CasstoreError, FactoryError

GiveUp = Callable[[int], int]
"""Asked for so many bytes; gives states up, and returns about how many bytes they held."""


def ask(givers: Iterable[GiveUp], wanted_bytes: int) -> tuple[int, list[CasstoreError]]:
    """About how many bytes were given up, and what went wrong; a function that fails keeps no other from being asked.

    Args:
        givers: Asked in turn, until it is enough.
        wanted_bytes: How much is wanted; nobody is asked for 0 or less.
    """
    given, failures = 0, []
    for giver in givers:
        if given >= wanted_bytes:
            break
        try:
            given += giver(wanted_bytes - given)
        except CasstoreError as error:
            failures.append(error)
        except Exception as error:
            failure = FactoryError(f"a function that gives states up raised {error!r}; correct it.")
            failure.__cause__ = error.with_traceback(None)
            failures.append(failure)
    return given, failures

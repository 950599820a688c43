# SPDX-License-Identifier: MIT
"""The error of a search whose expansion or evaluation failed."""

from __future__ import annotations

from typing import ClassVar

from casstore.errors import CasstoreError


class SearchError(CasstoreError):
    """A function that was given to a search failed, or the process that ran it died.

    The tree is as it was before the batch of descents that failed, but for nodes that these descents expanded.

    Attributes:
        node_id: Id of the node that was expanded or evaluated.
    """

    kind: ClassVar[str] = "search"

    def __init__(self, message: str, *, node_id: int) -> None:
        super().__init__(message)
        self.node_id = node_id

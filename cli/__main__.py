# SPDX-License-Identifier: MIT
"""``python -m casstore_cli`` is the ``casstore`` command."""

from __future__ import annotations

from .main import main

if __name__ == "__main__":
    main()

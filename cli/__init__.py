# SPDX-License-Identifier: MIT
"""The ``casstore`` command: a thin layer over the library. No store logic lives here."""

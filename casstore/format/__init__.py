# SPDX-License-Identifier: MIT
"""Bytes on disk and nothing else: every encoding of format 1, without I/O. ``docs/format.md`` is the normative text."""

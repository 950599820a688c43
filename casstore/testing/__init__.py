# SPDX-License-Identifier: MIT
"""Suites and doubles for testing casstore, and what others build on it; import the module that you need.

``backends`` is the conformance suite of the ``Backend`` interface, ``faults`` a file system that fails on demand.
"""

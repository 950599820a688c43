# SPDX-License-Identifier: MIT
"""Benchmarks: ``python -m benchmarks NAME``. Each states its workload and its limits before any number."""

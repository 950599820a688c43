# SPDX-License-Identifier: MIT
"""What is in a directory, and what of it changed: walks, ignore rules, reading, the stat cache, watching."""

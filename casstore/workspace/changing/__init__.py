# SPDX-License-Identifier: MIT
"""Writing into a directory and nowhere else: whole states, and the difference of two."""

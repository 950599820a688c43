# SPDX-License-Identifier: MIT
"""One module per command, each with a ``command`` object; ``main`` imports a module when its command runs."""

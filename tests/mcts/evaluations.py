# SPDX-License-Identifier: MIT
"""Functions that worker processes import."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

from casstore.branches import Branch


def walk(branch: Branch, rng: random.Random) -> Iterator[tuple[int, dict[str, int], float]]:
    """Steps of 1 to 3 from 0 to 12 at most."""
    place = branch.objects.get("place", 0)
    for step in (1, 2, 3):
        if place + step <= 12:
            yield step, {"objects/place": place + step}, rng.random()


def note(branch: Branch) -> float:
    """Writes a short and a long file, and an object."""
    place: int = branch.objects["place"]
    branch.files["short"] = b"%d" % place
    branch.files["long"] = bytes(range(256)) * 1000 + b"%d" % place
    branch.objects["log"] = f"place {place} of {len(branch.files['start'])}" + "." * 200
    return 1.0 - abs(place - 7) / 10


def look(branch: Branch) -> float:
    """Writes nothing."""
    return 1.0 - abs(branch.objects["place"] - 7) / 10


def fail(branch: Branch) -> float:
    if branch.objects["place"] > 4:
        raise KeyError("the sensor")
    return 0.5


def die(branch: Branch) -> float:
    if branch.objects["place"] > 4:
        os._exit(3)
    return 0.5

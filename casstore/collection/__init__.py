# SPDX-License-Identifier: MIT
"""What is kept, what goes, and whether what is kept is sound: mark, sweep, compaction, verify."""

from __future__ import annotations

from casstore.collection.explain_report import Explanation, Kept
from casstore.collection.plan import GcPlan, plan_gc
from casstore.collection.retention import RetentionPlan, RetentionReport
from casstore.collection.stats import Stats, gather_stats
from casstore.collection.sweep import GcReport
from casstore.collection.verify import Damage, VerifyReport, verify

__all__ = [
    "Damage",
    "Explanation",
    "GcPlan",
    "GcReport",
    "Kept",
    "RetentionPlan",
    "RetentionReport",
    "Stats",
    "VerifyReport",
    "gather_stats",
    "plan_gc",
    "verify",
]

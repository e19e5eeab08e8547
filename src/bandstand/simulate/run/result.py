"""The result of a run at its end, or where it was stopped: one JSON object."""

import json
from typing import Any

from bandstand.simulate.plan import Plan
from bandstand.simulate.run.tally import SimulationTally


def build_result(
    plan: Plan, tally: SimulationTally, *, run: int | None, state: str, seconds: float | None = None
) -> dict[str, Any]:
    """Put a run's plan and its tables into one object.

    Args:
        plan: what was played.
        tally: what came out.
        run: its number, None if it was not kept.
        state: ``done``, ``interrupted``, …
        seconds: how long it played, None if it was not played now.
    """
    summary = tally.build_summary()
    decisions = sum(policy["decisions"] for policy in summary["policies"].values())
    return {
        "run": run,
        "state": state,
        "plan": json.loads(plan.to_json()),
        "decisions": decisions,
        "total": plan.total,
        "seconds": seconds,
        **summary,
    }

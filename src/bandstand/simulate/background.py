"""Simulations that a service has played for it; the child is ``bandstand simulate --resume RUN --supervised``."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bandstand.background_runs import RunKind, RunQueue
from bandstand.bandit.catalogue import Catalogue
from bandstand.errors import FieldError, InvalidRequestError
from bandstand.simulate.errors import UnknownRunError
from bandstand.simulate.judges.judge_prompt import with_prompt
from bandstand.simulate.plan import Plan
from bandstand.simulate.run.runner import require_policies
from bandstand.store.tables.run_table import RunRecord
from bandstand.store.tables.simulations import Simulations

MAX_DECISIONS: Mapping[str, int] = {"rule": 20_000_000, "llm": 20_000}
"""By judge: an hour's work or two either way."""

MAX_EVENTS = 1_000_000


class SimulationQueue(RunQueue):
    """The simulations of one service.

    Args:
        simulations: where runs are kept.
        state_dir: handed to the children.
        catalogue: the configured policies.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        simulations: Simulations,
        state_dir: Path,
        catalogue: Catalogue,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.catalogue = catalogue
        super().__init__(
            simulations,
            RunKind(
                "simulation",
                UnknownRunError,
                lambda run: ("simulate", "--resume", str(run), "--supervised", "--state-dir", str(state_dir)),
            ),
            clock=clock,
        )

    async def start(self, document: Mapping[str, Any], client: str) -> RunRecord:
        """Queue a run.

        Args:
            document: the fields of a `Plan`, and ``judge`` as ``rule`` or ``llm``.
            client: name of the API key.

        Raises:
            InvalidRequestError: it is no plan, or too large a one.
            UnknownPolicyError: a policy is not configured.
            OverloadedError: too many runs wait.
        """
        names = [self.catalogue.get_policy(name).name for name in document["policies"]]
        judge = {"kind": document.get("judge", "rule")}
        plan = with_prompt(Plan.from_document({**document, "policies": names, "judge": judge}))
        _require_size(plan)
        plan = require_policies(plan, self.catalogue.policies)
        return await self.enqueue(plan.to_json(), plan.total, client)


def _require_size(plan: Plan) -> None:
    """Refuse what would keep the queue from moving.

    Raises:
        InvalidRequestError: it is too much for a service; the command line plays it.
    """
    most = MAX_DECISIONS[plan.judge.kind]
    kept = {"none": 0, "sample": plan.total // plan.seeds, "all": plan.total}[plan.events]
    faults = [
        FieldError(field, f"a service plays up to {allowed:,} {what}; the command line plays more")
        for field, what, asked, allowed in (
            ("seeds", f"decisions with the judge {plan.judge.kind}", plan.total, most),
            ("events", "decisions whose events are kept", kept, MAX_EVENTS),
        )
        if asked > allowed
    ]
    if faults:
        raise InvalidRequestError(faults[0].message, faults)

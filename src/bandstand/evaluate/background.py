"""Evaluations that a service makes beside its serving; the child is ``bandstand evaluate-run RUN``."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bandstand.background_runs import RunKind, RunQueue
from bandstand.bandit.catalogue import Catalogue
from bandstand.errors import UnsupportedByEngineError
from bandstand.evaluate.errors import UnknownEvaluationError
from bandstand.evaluate.plan import EvaluationPlan
from bandstand.store.tables.evaluations import Evaluations
from bandstand.store.tables.run_table import RunRecord


class EvaluationQueue(RunQueue):
    """The evaluations of one service.

    Args:
        evaluations: where they are kept.
        state_dir: handed to the children, which read its ledger; ``None`` where there is none to read.
        catalogue: the configured policies.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        evaluations: Evaluations,
        state_dir: Path | None,
        catalogue: Catalogue,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalogue = catalogue
        self._has_ledger = state_dir is not None
        super().__init__(
            evaluations,
            RunKind(
                "evaluation",
                UnknownEvaluationError,
                lambda run: ("evaluate-run", str(run), "--state-dir", str(state_dir)),
            ),
            clock=clock,
        )

    async def start(self, document: Mapping[str, Any], client: str) -> RunRecord:
        """Queue an evaluation.

        Args:
            document: fields of an `EvaluationPlan`.
            client: name of the API key.

        Raises:
            UnknownPolicyError: a policy is not configured.
            InvalidRequestError: there is no such estimator, or its parameter is wrong.
            OverloadedError: too many evaluations wait.
            UnsupportedByEngineError: there is no ledger here that an evaluation could read.
        """
        if not self._has_ledger:
            raise UnsupportedByEngineError("evaluations read the ledger of a state directory, not that of STATE_URL")
        plan = EvaluationPlan.from_document(document, self._catalogue)
        return await self.enqueue(plan.to_json(), 0, client)

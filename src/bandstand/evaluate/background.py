"""Evaluations that a service runs in the background; the child is ``bandstand evaluate-run RUN``."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bandstand.background_runs import RunKind, RunQueue
from bandstand.bandit.catalogue import Catalogue
from bandstand.evaluate.errors import UnknownEvaluationError
from bandstand.evaluate.plan import EvaluationPlan
from bandstand.store.run_protocol import EvaluationStore
from bandstand.store.tables.run_table import RunRecord


class EvaluationQueue(RunQueue):
    """The evaluations of one service.

    Args:
        evaluations: where they are kept.
        words: for the children, what they find the ledger by.
        catalogue: the configured policies.
        environment: the same, for what no list of processes may show; this process's if left out.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        evaluations: EvaluationStore,
        words: Sequence[str],
        catalogue: Catalogue,
        *,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.catalogue = catalogue
        super().__init__(
            evaluations,
            RunKind(
                "evaluation",
                UnknownEvaluationError,
                lambda run: ("evaluate-run", str(run), *words),
                environment,
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
        """
        plan = EvaluationPlan.from_document(document, self.catalogue)
        return await self.enqueue(plan.to_json(), 0, client)

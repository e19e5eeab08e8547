"""Policies on the log, beside the serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bandstand_client.areas.sender import Sender
from bandstand_client.call import build_delete, build_get, build_parser, build_post, read_nothing
from bandstand_client.lazy import LazyModule

if TYPE_CHECKING:
    from bandstand_client import answers
else:
    answers = LazyModule("bandstand_client.answers")


class EvaluationCalls(Sender):
    """Calls about evaluations; an ``admin`` key is needed."""

    def start_evaluation(self, policies: list[str], **plan: Any) -> answers.Evaluation:
        """Queue an evaluation of policies on the decisions that were logged.

        Args:
            policies: which.
            plan: ``estimators``, ``since``, ``until`` and what the service's ``/openapi.json`` shows beside them.

        Raises:
            UnknownPolicyError: one is not configured.

        Example:
            >>> run = client.start_evaluation(["first-v1"], estimators=["snips"])
            >>> client.cancel_evaluation(run.id).id == run.id
            True
            >>> client.delete_evaluation(run.id)
        """
        body = {"policies": policies, **plan}
        return self.send(build_post("/evaluations", build_parser(answers.Evaluation), body, repeatable=False))

    def evaluations(self, *, before: int | None = None, limit: int | None = None) -> answers.EvaluationList:
        """A page of evaluations, newest first.

        Args:
            before: ``next`` of the page before.
            limit: 1 to 200; 50 if left out.

        Example:
            >>> len(client.evaluations(limit=1).evaluations) <= 1
            True
        """
        return self.send(build_get("/evaluations", build_parser(answers.EvaluationList), before=before, limit=limit))

    def evaluation(self, run: int) -> answers.EvaluationResult:
        """An evaluation with its report, which is None until it is done.

        Raises:
            UnknownEvaluationError: there is none of that number.

        Example:
            >>> run = client.start_evaluation(["first-v1"])
            >>> client.evaluation(run.id).plan["policies"]
            ['first-v1']
            >>> client.delete_evaluation(run.id)
        """
        return self.send(build_get("/evaluations/{run}", build_parser(answers.EvaluationResult), ids={"run": str(run)}))

    def cancel_evaluation(self, run: int) -> answers.Evaluation:
        """End an evaluation.

        Example:
            >>> run = client.start_evaluation(["first-v1"])
            >>> client.cancel_evaluation(run.id).id == run.id
            True
            >>> client.delete_evaluation(run.id)
        """
        return self.send(
            build_post("/evaluations/{run}/cancel", build_parser(answers.Evaluation), ids={"run": str(run)})
        )

    def delete_evaluation(self, run: int) -> None:
        """End an evaluation and forget it.

        Example:
            >>> run = client.start_evaluation(["first-v1"])
            >>> client.delete_evaluation(run.id)
        """
        return self.send(build_delete("/evaluations/{run}", read_nothing, ids={"run": str(run)}))

"""The evaluation calls: our evaluations, which a child of the lowest priority makes, in Personalizer's form."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from bandstand.api.asgi.foreign_wire import ForeignResponse
from bandstand.errors import (
    BandstandError,
    OverloadedError,
    StorageFullError,
    StorageUnavailableError,
    UnsupportedByEngineError,
)
from bandstand.evaluate.background import EvaluationQueue
from bandstand.personalizer.admin import AdminCalls
from bandstand.personalizer.configuration import format_date
from bandstand.personalizer.errors import PersonalizerError
from bandstand.personalizer.evaluation_request import NOTE, EvaluationCall
from bandstand.personalizer.evaluation_results import SeriesRange, build_content, build_importance, build_results
from bandstand.personalizer.evaluation_summary import choose_width, find_best
from bandstand.personalizer.loop import PersonalizerLoop
from bandstand.personalizer.noted_runs import NotedRuns
from bandstand.personalizer.policy_arguments import PolicyArguments
from bandstand.personalizer.resource import DecisionTimes
from bandstand.personalizer.routing import PersonalizerRequest, Shape
from bandstand.personalizer.settings import read_applied
from bandstand.store.tables.run_table import RunRecord

_TYPE_FILTER: Final = re.compile(r"(?:metadata=)?evaluationType eq '(Manual|Auto)'")
_DECISION_SECONDS: Final = 120.0
"""After which an evaluation that the loop asked for itself is known to have led to nothing: it looks every minute."""
_UNAVAILABLE: Final = (OverloadedError, StorageFullError, StorageUnavailableError, UnsupportedByEngineError)
STATUSES: Final[Mapping[Shape, Mapping[str, str]]] = {
    "path": {
        "queued": "pending",
        "running": "pending",
        "done": "completed",
        "applied": "optimalPolicyApplied",
        "retained": "onlinePolicyRetained",
        "failed": "failed",
        "interrupted": "failed",
        "cancelled": "notSubmitted",
    },
    "query": {
        "queued": "Running",
        "running": "Running",
        "done": "Succeeded",
        "applied": "OptimalPolicyApplied",
        "retained": "OnlinePolicyRetained",
        "failed": "Failed",
        "interrupted": "Failed",
        "cancelled": "Canceled",
    },
}
"""How each version says how a run stands."""


class EvaluationCalls:
    """Answers the calls about evaluations.

    Args:
        loop: whose they are.
        runs: has them made.
        log: returns whether there is anything to evaluate.
        admin: applies what was found.

    Attributes:
        runs: those requested over this wire.
    """

    def __init__(self, loop: PersonalizerLoop, runs: EvaluationQueue, log: DecisionTimes, admin: AdminCalls) -> None:
        self._loop = loop
        self.runs = NotedRuns(runs, NOTE, "EvaluationNotFound")
        self._log = log
        self._admin = admin

    async def create(self, request: PersonalizerRequest) -> ForeignResponse:
        """``POST …/evaluations``."""
        asked = EvaluationCall.parse(await request.read_object("InvalidEvaluationContract"), None)
        run = await self.start(asked, request.inner.client)
        answer = request.answer(201, self._describe(request, run))
        # Relative: the path that the caller sees may have a prefix, of a loop or of a proxy.
        location = f"evaluations/{self.runs.read_note(run)['id']}"
        return answer._replace(headers=[*answer.headers, (b"location", location.encode())])

    async def put(self, request: PersonalizerRequest) -> ForeignResponse:
        """``PUT …/evaluations/{id}``."""
        own_id = await self.runs.require_free(request.id, "an evaluation")
        asked = EvaluationCall.parse(await request.read_object("InvalidEvaluationContract"), own_id)
        return request.answer(200, self._describe(request, await self.start(asked, request.inner.client)))

    async def list_all(self, request: PersonalizerRequest) -> ForeignResponse:
        """``GET …/evaluations``."""
        wanted = request.get_parameter("filter")
        found = None if wanted is None else _TYPE_FILTER.fullmatch(wanted)
        if wanted is not None and found is None:
            raise PersonalizerError(400, "BadRequest", "filter: must be like metadata=evaluationType eq 'Manual'")
        kind = None if found is None else found[1]
        listed = [self._describe(request, run) for run in await self.runs.list_page(request, kind)]
        return request.answer(200, listed if request.shape == "path" else {"value": listed, "nextLink": None})

    async def get(self, request: PersonalizerRequest) -> ForeignResponse:
        """``GET …/evaluations/{id}``; the newer version may ask for a part of it, by other windows of time."""
        run = await self.runs.require(request.id)
        answer = self._describe(request, run)
        if request.shape == "query":
            span = SeriesRange.parse(request.get_parameter, json.loads(run.plan))
            if run.summary is not None:
                answer["content"] = build_content(json.loads(run.summary), self.runs.read_note(run), span)
        return request.answer(200, answer)

    async def delete(self, request: PersonalizerRequest) -> ForeignResponse:
        """``DELETE …/evaluations/{id}``."""
        await self.runs.delete(request.id)
        return request.answer(204)

    async def apply(self, request: PersonalizerRequest) -> ForeignResponse:
        """``POST …/configurations/applyFromEvaluation``."""
        body = await request.read_object("InvalidPolicyContract")
        note = self.runs.read_note(await self.runs.require(str(body.get("evaluationId"))))
        named = {each["name"]: each["arguments"] for each in (*note["custom"], *note["experiments"])}
        name = body.get("policyName")
        if not isinstance(name, str) or name not in named:
            raise PersonalizerError(404, "LearningSettingsNotFound", "the evaluation has no such policy to apply")
        await self._admin.change_policy(
            PolicyArguments.parse(name, named[name]), request.inner.client, evaluation=note["id"]
        )
        return request.answer(204)

    async def start(self, asked: EvaluationCall, client: str) -> RunRecord:
        """Request an evaluation.

        Raises:
            PersonalizerError: there is nothing to evaluate, or it cannot be.
            OverloadedError, StorageFullError, StorageUnavailableError: not now.
        """
        times = await self._log.find_decision_times(asked.start, asked.end)
        if times is None:
            raise PersonalizerError(400, "NoLogsExistInDateRange", "nothing was decided in that range")
        loop = self._loop
        plan = asked.to_plan(loop.policy, loop.configuration.default_reward, choose_width(*times))
        try:
            return await self.runs.queue.start(plan, client)
        except _UNAVAILABLE:
            raise
        except BandstandError as error:
            raise PersonalizerError(400, "InvalidEvaluationContract", error.detail) from None

    def _describe(self, request: PersonalizerRequest, run: RunRecord) -> dict[str, Any]:
        plan, note = json.loads(run.plan), self.runs.read_note(run)
        report = None if run.summary is None else json.loads(run.summary)
        results = [] if report is None else build_results(report, plan, note)
        summaries = {each["name"]: each["totalSummary"] for each in results if each["policySource"] in _APPLICABLE}
        kind: str = note.get("kind", "Manual")
        state: str = run.state
        if read_applied(self._loop.definition) == note["id"]:
            state = "applied"
        elif kind == "Auto" and run.state == "done":
            is_decided = self._loop.clock() > (run.ended or 0.0) + _DECISION_SECONDS
            state = "retained" if is_decided else "running"
        return {
            "id": note["id"],
            "name": note["name"],
            "startTime": plan["since"],
            "endTime": plan["until"],
            "jobId": str(run.id),
            "status": STATUSES[request.shape][state],
            "policyResults": results,
            "featureImportance": [] if report is None else build_importance(report),
            "evaluationType": kind,
            "optimalPolicy": find_best(summaries),
            "creationTime": format_date(run.created),
        }


_APPLICABLE: Final = frozenset({"Custom", "OfflineExperimentation"})

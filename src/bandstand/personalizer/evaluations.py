"""The evaluation calls: our evaluations, which a child of the lowest priority makes, in Personalizer's form."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from bandstand.api.asgi.foreign_wire import ForeignResponse
from bandstand.errors import BandstandError, OverloadedError, StorageFullError, StorageUnavailableError
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

_MANUAL: Final = "Manual"
_TYPE_FILTER: Final = re.compile(r"(?:metadata=)?evaluationType eq '(Manual|Auto)'")
_UNAVAILABLE: Final = (OverloadedError, StorageFullError, StorageUnavailableError)
STATUSES: Final[Mapping[Shape, Mapping[str, str]]] = {
    "path": {
        "queued": "pending",
        "running": "pending",
        "done": "completed",
        "applied": "optimalPolicyApplied",
        "failed": "failed",
        "interrupted": "failed",
        "cancelled": "notSubmitted",
    },
    "query": {
        "queued": "Running",
        "running": "Running",
        "done": "Succeeded",
        "applied": "OptimalPolicyApplied",
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
        log: tells whether there is anything to evaluate.
        admin: applies what was found.
    """

    def __init__(self, loop: PersonalizerLoop, runs: EvaluationQueue, log: DecisionTimes, admin: AdminCalls) -> None:
        self._loop = loop
        self._runs = NotedRuns(runs, NOTE, "EvaluationNotFound")
        self._log = log
        self._admin = admin

    async def create(self, request: PersonalizerRequest) -> ForeignResponse:
        """``POST …/evaluations``."""
        run = await self._start(request, None)
        answer = request.answer(201, self._describe(request, run))
        location = f"{request.path}/{self._runs.read_note(run)['id']}"
        return answer._replace(headers=[*answer.headers, (b"location", location.encode())])

    async def put(self, request: PersonalizerRequest) -> ForeignResponse:
        """``PUT …/evaluations/{id}``."""
        own_id = await self._runs.require_free(request.id, "an evaluation")
        return request.answer(200, self._describe(request, await self._start(request, own_id)))

    async def list_all(self, request: PersonalizerRequest) -> ForeignResponse:
        """``GET …/evaluations``."""
        wanted = request.get_parameter("filter")
        found = None if wanted is None else _TYPE_FILTER.fullmatch(wanted)
        if wanted is not None and found is None:
            raise PersonalizerError(400, "BadRequest", "filter: must be like metadata=evaluationType eq 'Manual'")
        runs = [] if found is not None and found[1] != _MANUAL else await self._runs.list_page(request)
        listed = [self._describe(request, run) for run in runs]
        return request.answer(200, listed if request.shape == "path" else {"value": listed, "nextLink": None})

    async def get(self, request: PersonalizerRequest) -> ForeignResponse:
        """``GET …/evaluations/{id}``; the newer version may ask for a part of it, by other windows of time."""
        run = await self._runs.require(request.id)
        answer = self._describe(request, run)
        if request.shape == "query":
            span = SeriesRange.parse(request.get_parameter, json.loads(run.plan))
            if run.summary is not None:
                answer["content"] = build_content(json.loads(run.summary), self._runs.read_note(run), span)
        return request.answer(200, answer)

    async def delete(self, request: PersonalizerRequest) -> ForeignResponse:
        """``DELETE …/evaluations/{id}``."""
        await self._runs.delete(request.id)
        return request.answer(204)

    async def apply(self, request: PersonalizerRequest) -> ForeignResponse:
        """``POST …/configurations/applyFromEvaluation``."""
        body = await request.read_object("InvalidPolicyContract")
        note = self._runs.read_note(await self._runs.require(str(body.get("evaluationId"))))
        named = {each["name"]: each["arguments"] for each in (*note["custom"], *note["experiments"])}
        name = body.get("policyName")
        if not isinstance(name, str) or name not in named:
            raise PersonalizerError(404, "LearningSettingsNotFound", "the evaluation has no such policy to apply")
        await self._admin.change_policy(
            PolicyArguments.parse(name, named[name]), request.inner.client, evaluation=note["id"]
        )
        return request.answer(204)

    async def _start(self, request: PersonalizerRequest, own_id: str | None) -> RunRecord:
        asked = EvaluationCall.parse(await request.read_object("InvalidEvaluationContract"), own_id)
        times = await self._log.find_decision_times(asked.start, asked.end)
        if times is None:
            raise PersonalizerError(400, "NoLogsExistInDateRange", "nothing was decided in that range")
        loop = self._loop
        plan = asked.to_plan(loop.policy, loop.configuration.default_reward, choose_width(*times))
        try:
            return await self._runs.queue.start(plan, request.inner.client)
        except _UNAVAILABLE:
            raise
        except BandstandError as error:
            raise PersonalizerError(400, "InvalidEvaluationContract", error.detail) from None

    def _describe(self, request: PersonalizerRequest, run: RunRecord) -> dict[str, Any]:
        plan, note = json.loads(run.plan), self._runs.read_note(run)
        report = None if run.summary is None else json.loads(run.summary)
        results = [] if report is None else build_results(report, plan, note)
        summaries = {each["name"]: each["totalSummary"] for each in results if each["policySource"] in _APPLICABLE}
        is_applied = read_applied(self._loop.definition) == note["id"]
        return {
            "id": note["id"],
            "name": note["name"],
            "startTime": plan["since"],
            "endTime": plan["until"],
            "jobId": str(run.id),
            "status": STATUSES[request.shape]["applied" if is_applied else run.state],
            "policyResults": results,
            "featureImportance": [] if report is None else build_importance(report),
            "evaluationType": _MANUAL,
            "optimalPolicy": find_best(summaries),
            "creationTime": format_date(run.created),
        }


_APPLICABLE: Final = frozenset({"Custom", "OfflineExperimentation"})

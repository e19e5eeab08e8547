"""The evaluation calls: our evaluations, which a child of the lowest priority makes, in Personalizer's form."""

import json
from collections.abc import Mapping
from typing import Any, Final

from bandstand.api.asgi.foreign_wire import ForeignResponse
from bandstand.errors import BandstandError, OverloadedError, StorageFullError, StorageUnavailableError
from bandstand.evaluate.background import EvaluationQueue
from bandstand.personalizer.admin import AdminCalls
from bandstand.personalizer.configuration import format_date
from bandstand.personalizer.durations import format_duration
from bandstand.personalizer.errors import PersonalizerError
from bandstand.personalizer.evaluation_request import BASELINE, NOTE, RANDOM, EvaluationCall
from bandstand.personalizer.evaluation_summary import build_summary, find_best
from bandstand.personalizer.loop import PersonalizerLoop
from bandstand.personalizer.policy_arguments import PolicyArguments
from bandstand.personalizer.resource import DecisionTimes
from bandstand.personalizer.routing import PersonalizerRequest, Shape
from bandstand.personalizer.settings import read_applied
from bandstand.store.tables.run_table import RunRecord
from bandstand.times import parse_bound

_PAGE: Final = 200
_UNAVAILABLE = (OverloadedError, StorageFullError, StorageUnavailableError)
_STATUSES: Final[Mapping[Shape, Mapping[str, str]]] = {
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
"""How each version says how an evaluation stands."""


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
        self._runs = runs
        self._log = log
        self._admin = admin

    async def create(self, request: PersonalizerRequest) -> ForeignResponse:
        """``POST …/evaluations``."""
        run = await self._start(request, None)
        answer = request.answer(201, self._describe(request, run))
        location = f"{request.path}/{_read_note(run)['id']}"
        return answer._replace(headers=[*answer.headers, (b"location", location.encode())])

    async def put(self, request: PersonalizerRequest) -> ForeignResponse:
        """``PUT …/evaluations/{id}``."""
        if await self._find(request.id) is not None:
            raise PersonalizerError(400, "EvaluationAlreadyExists", "there is an evaluation of that id")
        return request.answer(200, self._describe(request, await self._start(request, request.id)))

    async def list_all(self, request: PersonalizerRequest) -> ForeignResponse:
        """``GET …/evaluations``."""
        listed = [self._describe(request, run) for run in await self._list_runs()]
        return request.answer(200, listed if request.shape == "path" else {"value": listed, "nextLink": None})

    async def get(self, request: PersonalizerRequest) -> ForeignResponse:
        """``GET …/evaluations/{id}``."""
        run = await self._runs.get((await self._require(request.id)).id)
        return request.answer(200, self._describe(request, run))

    async def delete(self, request: PersonalizerRequest) -> ForeignResponse:
        """``DELETE …/evaluations/{id}``."""
        await self._runs.delete((await self._require(request.id)).id)
        return request.answer(204)

    async def apply(self, request: PersonalizerRequest) -> ForeignResponse:
        """``POST …/configurations/applyFromEvaluation``."""
        body = await request.read_object("InvalidPolicyContract")
        run = await self._require(str(body.get("evaluationId")))
        note = _read_note(run)
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
        if await self._log.find_decision_times(asked.start, asked.end) is None:
            raise PersonalizerError(400, "NoLogsExistInDateRange", "nothing was decided in that range")
        plan = asked.to_plan(self._loop.policy, self._loop.configuration.default_reward)
        try:
            return await self._runs.start(plan, request.inner.client)
        except _UNAVAILABLE:
            raise
        except BandstandError as error:
            raise PersonalizerError(400, "InvalidEvaluationContract", error.detail) from None

    async def _list_runs(self) -> list[RunRecord]:
        """Every evaluation that was asked for over this wire, the newest first."""
        found: list[RunRecord] = []
        before: int | None = None
        while True:
            page = await self._runs.list_page(before=before, limit=_PAGE)
            found += [run for run in page if _read_note(run)]
            if len(page) < _PAGE:
                return found
            before = page[-1].id

    async def _find(self, evaluation_id: str) -> RunRecord | None:
        return next((run for run in await self._list_runs() if _read_note(run)["id"] == evaluation_id), None)

    async def _require(self, evaluation_id: str) -> RunRecord:
        run = await self._find(evaluation_id)
        if run is None:
            raise PersonalizerError(404, "EvaluationNotFound", "no such evaluation")
        return run

    def _describe(self, request: PersonalizerRequest, run: RunRecord) -> dict[str, Any]:
        plan, note = json.loads(run.plan), _read_note(run)
        results = [] if run.summary is None else _build_results(json.loads(run.summary), plan, note)
        summaries = {each["name"]: each["totalSummary"] for each in results if each["policySource"] in _APPLICABLE}
        is_applied = read_applied(self._loop.definition) == note["id"]
        return {
            "id": note["id"],
            "name": note["name"],
            "startTime": plan["since"],
            "endTime": plan["until"],
            "jobId": str(run.id),
            "status": _STATUSES[request.shape]["applied" if is_applied else run.state],
            "policyResults": results,
            "featureImportance": [],
            "evaluationType": "Manual",
            "optimalPolicy": find_best(summaries),
            "creationTime": format_date(run.created),
        }


_APPLICABLE = frozenset({"Custom", "OfflineExperimentation"})


def _read_note(run: RunRecord) -> dict[str, Any]:
    """What was asked over this wire; nothing where the evaluation was asked for in another way."""
    note: dict[str, Any] = json.loads(run.plan).get("note", {}).get(NOTE, {})
    return note


def _build_results(report: Mapping[str, Any], plan: Mapping[str, Any], note: Mapping[str, Any]) -> list[dict[str, Any]]:
    begins, ends = (parse_bound(plan[key]) for key in ("since", "until"))
    found = {each["policy"]: each for each in report["policies"]}
    window = format_duration(ends - begins)

    def build(name: str, arguments: str, source: str, key: str | None) -> dict[str, Any]:
        summary = build_summary(report["log"], None if key is None else found[key], plan["since"], window)
        return {
            "name": name,
            "arguments": arguments,
            "policySource": source,
            "summary": [summary],
            "totalSummary": summary,
        }

    results = [
        build("Online", "", "Online", None),
        build("Baseline", "", "Baseline", BASELINE),
        build("Random", "", "Random", RANDOM),
    ]
    for source, prefix, listed in (
        ("Custom", "custom", note["custom"]),
        ("OfflineExperimentation", "hyper", note["experiments"]),
    ):
        results += [build(each["name"], each["arguments"], source, f"{prefix}-{n}") for n, each in enumerate(listed)]
    return results

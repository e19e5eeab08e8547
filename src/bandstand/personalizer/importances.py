"""The calls about feature importances, which only the newest version has: which features move the active policy."""

import json
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
from bandstand.personalizer.configuration import format_date
from bandstand.personalizer.errors import PersonalizerError
from bandstand.personalizer.evaluation_request import ACTIVE, parse_range
from bandstand.personalizer.evaluations import STATUSES
from bandstand.personalizer.explanation import to_feature_name
from bandstand.personalizer.loop import PersonalizerLoop
from bandstand.personalizer.noted_runs import NotedRuns
from bandstand.personalizer.policy_arguments import MAX_NAME
from bandstand.personalizer.resource import DecisionTimes
from bandstand.personalizer.routing import PersonalizerRequest
from bandstand.personalizer.settings import describe_policy
from bandstand.store.tables.run_table import RunRecord

_NOTE: Final = "personalizer-importance"
_INVALID: Final = "InvalidEvaluationContract"
_UNAVAILABLE: Final = (OverloadedError, StorageFullError, StorageUnavailableError, UnsupportedByEngineError)


class ImportanceCalls:
    """Answers them.

    Args:
        loop: whose they are.
        runs: has them made.
        log: returns whether there are events to look at.
    """

    def __init__(self, loop: PersonalizerLoop, runs: EvaluationQueue, log: DecisionTimes) -> None:
        self._loop = loop
        self._runs = NotedRuns(runs, _NOTE, "FeatureImportanceNotFound")
        self._log = log

    async def put(self, request: PersonalizerRequest) -> ForeignResponse:
        """``PUT …/featureImportances/{id}``."""
        body = await request.read_object(_INVALID)
        name = body.get("name")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            raise PersonalizerError(400, _INVALID, f"name: must be text of 1 to {MAX_NAME} characters")
        start, end = parse_range(body)
        own_id = await self._runs.require_free(request.id, "a feature importance")
        if await self._log.find_decision_times(start, end) is None:
            raise PersonalizerError(400, "NoLogsExistInDateRange", "nothing was decided in that range")
        plan = {
            "policies": [ACTIVE],
            "estimators": ["ips"],
            "since": format_date(start),
            "until": format_date(end),
            "missing_reward": self._loop.configuration.default_reward,
            "definitions": {ACTIVE: describe_policy(self._loop.policy)},
            "importance_of": ACTIVE,
            "note": {_NOTE: {"id": own_id, "name": name}},
        }
        try:
            run = await self._runs.queue.start(plan, request.inner.client)
        except _UNAVAILABLE:
            raise
        except BandstandError as error:
            raise PersonalizerError(400, _INVALID, error.detail) from None
        return request.answer(200, self._describe(run))

    async def list_all(self, request: PersonalizerRequest) -> ForeignResponse:
        """``GET …/featureImportances``."""
        listed = [self._describe(run) for run in await self._runs.list_page(request)]
        return request.answer(200, {"value": listed, "nextLink": None})

    async def get(self, request: PersonalizerRequest) -> ForeignResponse:
        """``GET …/featureImportances/{id}``."""
        return request.answer(200, self._describe(await self._runs.require(request.id)))

    async def delete(self, request: PersonalizerRequest) -> ForeignResponse:
        """``DELETE …/featureImportances/{id}``."""
        await self._runs.delete(request.id)
        return request.answer(204)

    def _describe(self, run: RunRecord) -> dict[str, Any]:
        plan, note = json.loads(run.plan), self._runs.read_note(run)
        scores = [] if run.summary is None else json.loads(run.summary)["importance"]
        return {
            "id": note["id"],
            "name": note["name"],
            "startTime": plan["since"],
            "endTime": plan["until"],
            "creationTime": format_date(run.created),
            "status": STATUSES["query"][run.state],
            "featureScores": [_build_score(name, score) for name, score in scores],
        }


def _build_score(name: str, score: float) -> dict[str, Any]:
    feature = to_feature_name(name)
    namespaces = [each.partition(".")[0] for each in feature.split("^")]
    return {"featureName": feature, "namespace": "^".join(namespaces), "score": score}

"""Score: have the request decided with its neighbours of the same turn of the loop, and answer after the commit."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from bandstand.bandit.eligibility import Indices, find_eligible
from bandstand.bandit.json_object import list_values
from bandstand.errors import DecisionConflictError, OverloadedError, StorageFullError, StorageUnavailableError
from bandstand.service.context import ServiceContext
from bandstand.service.request_identity import is_same_score_request
from bandstand.service.score_batch import ScoreRequest, count_try, find_profile, goes_unlogged
from bandstand.store.ids import parse_event_id
from bandstand.store.outcomes import OutcomeCallback, make_callback, run
from bandstand.store.protocol import MovedError
from bandstand.store.records import Array, Decision

_NOT_LOGGED = (OverloadedError, StorageFullError, StorageUnavailableError)


class ScoreResult(Struct):
    """The answer to a score request.

    Attributes:
        decision_id: ``None`` if the decision could not be logged (``SCORE_WHEN_FULL``) and takes no reward.
        numbers: mean, width, score and probability of every candidate: shape (4, K).
        repeated: the same request came before, and this is its earlier decision.
        eligible: places of the candidates that could be picked; ``None`` for all.
    """

    decision_id: str | None
    tip_id: str
    score: float
    policy: str
    propensity: float
    exploring: bool
    numbers: Array | None
    repeated: bool = False
    eligible: Indices | None = None

    def build_ranking(self, candidates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """All candidates, best score first, equals in the caller's order; an excluded one keeps its place."""
        assert self.numbers is not None  # noqa: S101 (the store gave the decision in full)
        _, _, scores, probabilities = self.numbers
        order = np.argsort(-scores, kind="stable")
        if self.eligible is not None:
            ranked, order = order[np.isin(order, self.eligible)], np.arange(len(scores))
            order[self.eligible] = ranked
        ids = list_values(candidates, "id")
        return [{"tip_id": ids[i], "score": float(scores[i]), "propensity": float(probabilities[i])} for i in order]


async def score(
    deployment: ServiceContext, request: Mapping[str, Any], *, body: bytes, client: str, policy: str | None = None
) -> ScoreResult:
    """Pick one of ``request["candidates"]`` for ``request["user_id"]``: as :func:`begin_score`, to be awaited."""
    future: asyncio.Future[ScoreResult] = asyncio.get_running_loop().create_future()
    begin_score(deployment, request, make_callback(future), body=body, client=client, policy=policy)
    return await future


def begin_score(
    deployment: ServiceContext,
    request: Mapping[str, Any],
    done: OutcomeCallback[ScoreResult],
    *,
    body: bytes,
    client: str,
    policy: str | None = None,
) -> None:
    """Begin to pick one of ``request["candidates"]`` for ``request["user_id"]``.

    Args:
        deployment: where.
        request: a validated score request.
        done: called with the pick once it is committed, or with what this would raise later on.
        body: the same request as it came, for the ledger.
        client: name of the API key.
        policy: the policy to ask; ``None`` for the active one.

    Raises:
        UnknownPolicyError: no such policy.
        InvalidRequestError: what is excluded is no candidate, or all of them.
        LearningModeError: the request names another policy than the baseline, and only that serves.
        DecisionConflictError: the caller's ``decision_id`` names another request.
        OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
    """
    user_id = request["user_id"]
    chosen = deployment.choose_policy(policy, user_id)
    is_named = policy is not None or deployment.is_held_out(user_id)
    call = _ScoreCall(
        request,
        body,
        client,
        deployment.get_owner(user_id),
        chosen,
        is_named,
        find_eligible(request),
        deployment=deployment,
        done=done,
        named=None if policy is None else chosen.name,
    )
    # An id that the service may have given is looked up: the ledger would not refuse it. Any other id of the caller's
    # own is most often new, so it is not looked up first: the ledger takes it once.
    is_looked_up = "decision_id" in request and parse_event_id(request["decision_id"]) is not None
    if is_looked_up and not goes_unlogged(deployment):
        run(call.look_up())
    else:
        call.begin()


class _ScoreCall(ScoreRequest, eq=False, kw_only=True):
    """A request on its way to its answer.

    Attributes:
        deployment: where.
        done: called with the answer.
        named: the policy that it names, if it names one.
    """

    deployment: ServiceContext
    done: OutcomeCallback[ScoreResult]
    named: str | None

    def begin(self) -> None:
        """Submit it to be decided with its neighbours."""
        self.deployment.scoring.submit(self)

    def load_user(self) -> None:
        """Read its user, or what other processes have taught them: a decision without it would be refused."""
        run(self._load_user())

    def answer_unlogged(self) -> None:
        """Answer with the decision, under no id."""
        assert self.decision is not None  # noqa: S101 (it was made just now)
        self.done(_build_result(self.decision, self.numbers, self.eligible, logged=False), None)

    def conclude(self, stands: Decision | None, error: BaseException | None) -> None:
        """Answer with what was decided, if that stands."""
        if isinstance(error, MovedError):  # another process has taught its user, or changed what all decide by
            self._decide_anew(error.known)
            return
        if stands is None or stands is not self.decision:
            run(self._resolve(error))
            return
        try:
            if self.captured is not None and self.deployment.shadows is not None:
                self.deployment.shadows.enqueue(self.captured)
            result = _build_result(stands, self.numbers, self.eligible)
        except Exception as failure:  # noqa: BLE001 (whoever asked has it)
            self.done(None, failure)
        else:
            self.done(result, None)

    def _decide_anew(self, known: int | None) -> None:
        """Begin again from the present state, with the policy that is active now."""
        self.decision, self.known = None, known
        try:
            self.tries = count_try(self.tries)
            self.policy = self.deployment.choose_policy(self.named, self.request["user_id"])
        except Exception as failure:  # noqa: BLE001 (whoever asked has it)
            self.done(None, failure)
        else:
            self.begin()

    async def look_up(self) -> None:
        """Answer with what was decided under its id before; decide where nothing was."""
        try:
            earlier = await self._find_earlier()
        except Exception as failure:  # noqa: BLE001 (whoever asked has it)
            self.done(None, failure)
        else:
            self._answer_or_begin(earlier)

    async def _load_user(self) -> None:
        store, user_id = self.deployment.store, self.request["user_id"]
        try:
            if find_profile(store, user_id, self.owner) is not None:
                self.known = await store.refresh_profile(self.owner)
            for needed in dict.fromkeys((user_id, self.owner)):
                if store.get_cached_profile(needed) is None:
                    await store.load_profile(needed)
        except Exception as failure:  # noqa: BLE001 (whoever asked has it)
            await self._resolve(failure)
        else:
            self.begin()

    async def _resolve(self, error: BaseException | None) -> None:
        """Answer where the decision does not stand: with an earlier one, or with the error."""
        try:
            answer = await self._find_answer(error)
        except Exception as failure:  # noqa: BLE001 (whoever asked has it)
            self.done(None, failure)
        else:
            self._answer_or_begin(answer)  # what stood there may have been erased: then the id is free again

    async def _find_answer(self, error: BaseException | None) -> ScoreResult | None:
        if error is not None and not isinstance(error, _NOT_LOGGED):
            raise error
        is_unlogged = self.decision is not None and goes_unlogged(self.deployment)
        earlier = None if is_unlogged else await self._find_earlier()
        if earlier is not None or error is None:
            return earlier
        is_full = self.deployment.score_when_full and isinstance(error, StorageFullError)
        if self.decision is None or not (is_full or is_unlogged):
            raise error
        return _build_result(self.decision, self.numbers, self.eligible, logged=False)

    def _answer_or_begin(self, earlier: ScoreResult | None) -> None:
        if earlier is None:
            self.begin()
        else:
            self.done(earlier, None)

    async def _find_earlier(self) -> ScoreResult | None:
        """The first answer under the caller's own id, if the request is the same."""
        own_id: str | None = self.request.get("decision_id")
        earlier = None if own_id is None else await self.deployment.store.find_receipt(own_id)
        if earlier is None:
            return None
        is_same = is_same_score_request(self.deployment.catalogue, json.loads(earlier.body), self.request)
        if (self.named is not None and self.named != earlier.policy.name) or not is_same:
            message = "this decision_id already names another request"
            raise DecisionConflictError(message)
        return _build_result(earlier, earlier.numbers, self.eligible, repeated=True)


def _build_result(
    decision: Decision,
    numbers: Array | None,
    eligible: Indices | None,
    *,
    logged: bool = True,
    repeated: bool = False,
) -> ScoreResult:
    return ScoreResult(
        decision.decision_id if logged else None,
        decision.tip_id,
        decision.score,
        decision.policy.name,
        decision.propensity,
        decision.exploring,
        numbers,
        repeated,
        eligible,
    )

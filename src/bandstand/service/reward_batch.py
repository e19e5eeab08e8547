"""Rewards taken together: what arrives in one turn of the event loop is built, encoded and logged at once.

A reward on its own is a batch of one. Of a reward by ``decision_id`` the decision has the features; those of the legacy
form are encoded together, policy by policy. Nothing that one of them is or brings (its key, its source, its policy by
name) takes it another way, and one that is refused is refused alone.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.loop_definition import LearningMode
from bandstand.bandit.policies import Policy
from bandstand.bandit.reaction_table import SentReaction
from bandstand.bandit.reward_formula import validate_metrics
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.errors import FieldError, InvalidRequestError, UnknownDecisionError, WrongPolicyError
from bandstand.service.request_identity import hash_reward_request
from bandstand.store.outcomes import watch
from bandstand.store.protocol import Store
from bandstand.store.records import AcceptedReward, Decision, PolicyRef, Reward, RewardPart, UnreadReward
from bandstand.store.tables.windows import LOGGING_ONLY

_encode_json = msgspec.json.Encoder().encode

_Unencoded = tuple[int, Reward, Mapping[str, Any], Mapping[str, Any]]
"""A reward in the legacy form: its number in the batch, itself, its context, its features."""


class RewardingContext(Protocol):
    """What taking rewards needs of a deployment; see :class:`bandstand.service.context.ServiceContext`."""

    catalogue: Catalogue
    store: Store
    policy_refs: Mapping[str, PolicyRef]
    reward_settings: RewardSettings

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since the epoch."""

    @property
    def mode(self) -> LearningMode:
        """How the loop learns."""

    @property
    def has_one_model(self) -> bool:
        """Whether all users have one model."""

    def choose_policy(self, name: str | None, user_id: str | None = None) -> Policy:
        """The policy of that name or alias, or the one that decides for the user."""


class RewardRequest(Struct, eq=False):
    """A reward request, and what it is for.

    Attributes:
        value: its value, in [-1, 1].
        client: name of the API key.
        policy: the policy that the route names, if it names one.
        decision: what it rewards; ``None`` in the legacy form, and until it is looked up.
        idempotency: scope (key name and route) and ``Idempotency-Key``.
        is_read: the decision was not in memory, and has been read.
    """

    request: Mapping[str, Any]
    value: float
    client: str
    policy: Policy | None
    decision: Decision | None
    idempotency: tuple[str, str] | None
    is_read: bool = False

    def find_decision(self) -> None:
        """Have the decision read that it names and that is not in memory; callers override this."""
        raise NotImplementedError

    def conclude(self, accepted: AcceptedReward | None, error: BaseException | None) -> None:
        """Receive the reward that stands, committed and synced, or the error; callers override this."""
        raise NotImplementedError


class RewardBatch:
    """Gathers a deployment's rewards and logs them at the end of the loop's turn."""

    def __init__(self, deployment: RewardingContext) -> None:
        self._deployment = deployment
        self._waiting: list[RewardRequest] = []

    def submit(self, request: RewardRequest) -> None:
        """Submit a reward to be logged with its neighbours."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._log_waiting)
        self._waiting.append(request)

    def _log_waiting(self) -> None:
        store, teaches = self._deployment.store, self._deployment.mode != "logging"
        ready = self._look_up_decisions()
        for each, reward in zip(ready, build_rewards(self._deployment, ready), strict=True):
            if isinstance(reward, Exception):
                each.conclude(None, reward)
                continue
            if not teaches:
                reward.applied, reward.reason = False, LOGGING_ONLY
            try:
                outcome = store.reward(reward, None if each.is_read else each.decision)
            except Exception as error:  # noqa: BLE001 (its neighbours are not to fail with it)
                each.conclude(None, error)
            else:
                watch(outcome, each.conclude)

    def _look_up_decisions(self) -> list[RewardRequest]:
        """Give those that wait their decisions, as far as these are in memory; the others have theirs read."""
        waiting, self._waiting = self._waiting, []
        find, ready = self._deployment.store.get_cached_decision, list[RewardRequest]()
        for each in waiting:
            decision_id = each.request.get("decision_id")
            if decision_id is not None and each.decision is None:
                each.decision = find(decision_id)
                if each.decision is None:
                    _have_read(each)
                    continue
            ready.append(each)
        return ready


def _have_read(each: RewardRequest) -> None:
    try:
        each.find_decision()
    except Exception as error:  # noqa: BLE001 (its neighbours are not to fail with it)
        each.conclude(None, error)


async def find_rewarded(deployment: RewardingContext, request: Mapping[str, Any]) -> Decision | None:
    """The decision that a reward request names; ``None`` in the legacy form.

    Raises:
        UnknownDecisionError: there is no such decision.
    """
    decision_id = request.get("decision_id")
    if decision_id is None:
        return None
    store = deployment.store
    decision = store.get_cached_decision(decision_id) or await store.find_decision(decision_id)
    if decision is None:
        raise _build_unknown_error()
    return decision


def build_unread(deployment: RewardingContext, each: RewardRequest) -> UnreadReward | None:
    """A reward of a decision that is not in memory, for the ledger to find it.

    Returns:
        ``None`` if more has to be known of the decision first: its reward is one of several, or teaches nothing, or the
        request says by which policy it was made.
    """
    request, settings = each.request, deployment.reward_settings
    takes_one = not settings.takes_parts and request.get("metrics") is None
    if each.policy is not None or not takes_one or deployment.mode == "logging":
        return None
    ts = deployment.clock()
    return UnreadReward(
        decision_id=request["decision_id"],
        value=each.value,
        client=each.client,
        ts=ts,
        body_hash=hash_reward_request(deployment.catalogue, request),
        user_id=request.get("user_id"),
        tip_id=request.get("tip_id"),
        idempotency=each.idempotency,
        reaction=_read_reaction(request, ts, settings),
    )


def build_rewards(deployment: RewardingContext, requests: Sequence[RewardRequest]) -> list[Reward | Exception]:
    """The reward that each request means, or why it means none; nothing is logged yet.

    Of the errors, ``InvalidRequestError`` says that legacy fields are missing or too large, or that the decision picked
    another candidate; ``UnknownDecisionError`` and ``WrongPolicyError``, that it was another user's, or of another
    policy.
    """
    ts, settings = deployment.clock(), deployment.reward_settings
    parts = settings if settings.takes_parts else None
    built: list[Reward | Exception] = []
    legacy: dict[str, list[_Unencoded]] = {}  # by policy
    for number, each in enumerate(requests):
        try:
            if each.decision is None:
                reward, context = _build_legacy(deployment, each, ts)
                legacy.setdefault(reward.policy.name, []).append((number, reward, context, each.request["features"]))
            else:
                reward = _build_from_decision(deployment, each, each.decision, ts, parts)
        except Exception as error:  # noqa: BLE001 (whoever asked has it)
            built.append(error)
        else:
            built.append(reward)
    for name, unencoded in legacy.items():
        policy = deployment.catalogue.policies[name]
        try:
            _encode(policy, unencoded)
        except Exception:  # noqa: BLE001 (one of them is at fault: each is tried alone)
            for alone in unencoded:
                try:
                    _encode(policy, [alone])
                except Exception as error:  # noqa: BLE001 (whoever asked has it)
                    built[alone[0]] = error
    return built


def _build_from_decision(
    deployment: RewardingContext, each: RewardRequest, decision: Decision, ts: float, parts: RewardSettings | None
) -> Reward:
    request, tip_id = each.request, decision.tip_id
    if "user_id" in request and request["user_id"] != decision.person:
        raise _build_unknown_error()
    if each.policy is not None and each.policy.name != decision.policy.name:
        message = f"the decision was made by {decision.policy.name}"
        raise WrongPolicyError(message)
    if request.get("tip_id", tip_id) != tip_id:
        message = "the decision picked another candidate"
        raise InvalidRequestError(message, [FieldError("tip_id", message)])
    settings = deployment.reward_settings
    return Reward(
        user_id=decision.user_id,
        policy=decision.policy,
        tip_id=tip_id,
        value=each.value,
        client=each.client,
        ts=ts,
        body_hash=hash_reward_request(deployment.catalogue, request),
        x=None,
        decision_id=decision.decision_id,
        idempotency=each.idempotency,
        settings=parts,
        part=_build_part(each, settings) if request.get("metrics") is not None else None,
        reaction=_read_reaction(request, ts, settings) if "reaction" in request else None,
    )


def _read_reaction(request: Mapping[str, Any], ts: float, settings: RewardSettings) -> SentReaction | None:
    """The reaction of a request, as it was sent."""
    reaction = request.get("reaction")
    return None if reaction is None else SentReaction.from_request(reaction, ts, settings.reactions)


def _build_part(each: RewardRequest, settings: RewardSettings) -> RewardPart:
    """What a reward with metrics brings: it is one part of what its decision is taught."""
    makes_value = "reward" not in each.request and each.request.get("reaction") is None
    formula = settings.formula.hash if makes_value and settings.formula is not None else None
    document = json.dumps(validate_metrics(each.request["metrics"]), separators=(",", ":"))
    return RewardPart(each.value, metrics=document, formula=formula)


def _build_legacy(deployment: RewardingContext, each: RewardRequest, ts: float) -> tuple[Reward, Mapping[str, Any]]:
    """A reward in the legacy form, not encoded yet, and what its features say of the context."""
    request = each.request
    policy = each.policy or deployment.choose_policy(None, request.get("user_id"))
    if "user_id" not in request or "tip_id" not in request or "features" not in request:
        missing = [name for name in ("user_id", "tip_id", "features") if name not in request]
        message = "without a decision_id, user_id, tip_id and features are required"
        raise InvalidRequestError(message, [FieldError(name, "required without a decision_id") for name in missing])
    if deployment.has_one_model:
        message = "in a loop with one model for everybody, a reward names its decision"
        raise InvalidRequestError(message, [FieldError("decision_id", "required in a loop with one model")])
    if policy.schema.is_open:
        message = f"{policy.name} reads all of a context and a candidate, which this form does not tell apart"
        raise InvalidRequestError(message, [FieldError("decision_id", "required by a policy with open features")])
    context = _read_context(policy, request)
    reward = Reward(
        user_id=request["user_id"],
        policy=deployment.policy_refs[policy.name],
        tip_id=request["tip_id"],
        value=each.value,
        client=each.client,
        ts=ts,
        body_hash=hash_reward_request(deployment.catalogue, request),
        x=None,
        features=_encode_json({"context": context, "features": request["features"]}),
        idempotency=each.idempotency,
        reaction=_read_reaction(request, ts, deployment.reward_settings) if "reaction" in request else None,
    )
    return reward, context


def _encode(policy: Policy, unencoded: Sequence[_Unencoded]) -> None:
    """Give rewards of one policy in the legacy form their features."""
    _, rewards, contexts, features = zip(*unencoded, strict=True)
    x = policy.schema.encode_requests(contexts, features)
    for reward, row in zip(rewards, x[:, 0], strict=True):
        reward.x = row.copy()  # a view would keep its neighbours in memory for as long


def _read_context(policy: Policy, request: Mapping[str, Any]) -> dict[str, Any]:
    """What the legacy form's features say of the context."""
    features = request["features"]
    context = {name: features[name] for name in policy.schema.context_fields if name in features}
    if "day_of_week" in request:
        context["day_of_week"] = request["day_of_week"]
    return context


def _build_unknown_error() -> UnknownDecisionError:
    return UnknownDecisionError("no such decision of this user")

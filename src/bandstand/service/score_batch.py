"""Decisions made together: what arrives in one turn of the event loop is encoded, scored, drawn and logged at once.

A request on its own is a batch of one. Requests of one policy and as many candidates share the arithmetic; nothing that
one of them is or brings (its id, a shadow, a split, a ranking) takes it another way, and one that fails fails alone.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

import numpy as np
from msgspec import Struct

from bandstand.bandit.choice import choose_batch
from bandstand.bandit.distribution import hash_to_uniforms
from bandstand.bandit.eligibility import Indices, find_eligible
from bandstand.bandit.loop_definition import LearningMode
from bandstand.bandit.policies import Policy
from bandstand.bandit.profile import Profile
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.bandit.ridge import Prior
from bandstand.errors import OverloadedError
from bandstand.learning.shadows import CapturedDecision, ShadowRunner
from bandstand.store.ids import DecisionIds
from bandstand.store.outcomes import watch
from bandstand.store.protocol import Store
from bandstand.store.records import Array, Decision, PolicyRef, RewardWindow
from bandstand.store.tables.promotions import ExperimentStart

_EMPTY: dict[str, object] = {}
_MAX_TRIES = 10
"""A store takes a try that was made from what it held after the request unless its user was reset meanwhile: more than
this is no accident."""


class ScoringContext(Protocol):
    """What deciding needs of a deployment; see :class:`bandstand.service.context.ServiceContext`."""

    store: Store
    decision_ids: DecisionIds
    policy_refs: Mapping[str, PolicyRef]
    running_experiment: ExperimentStart | None
    shadows: ShadowRunner | None
    reward_settings: RewardSettings
    score_when_full: bool

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since the epoch."""

    @property
    def mode(self) -> LearningMode:
        """How the loop learns."""

    def get_priors(self, policy: Policy, user_ids: Sequence[str]) -> Sequence[Prior]:
        """What a policy believes of each of some users before their first reward."""


class ScoreRequest(Struct, eq=False):
    """A request to be decided; callers derive a class that says what follows.

    Attributes:
        body: the request as it came.
        client: name of the API key.
        owner: the user whose model it is that decides.
        policy: who decides.
        is_named: the request names its policy, or its user is held out, and so takes no part in an experiment.
        eligible: places of the candidates that may be picked; ``None`` for all.
        decision: what was made of it and submitted.
        numbers: mean, width, score and probability of every candidate, shape (4, K), which the decision itself releases
            at its commit.
        captured: what policies in the shadow believed.
        tries: how often it was decided before, from a state that had moved.
        known: number of the user's newest event when somebody last looked for it; ``None`` if nobody did.
    """

    request: Mapping[str, Any]
    body: bytes
    client: str
    owner: str
    policy: Policy
    is_named: bool
    eligible: Indices | None
    decision: Decision | None = None
    numbers: Array | None = None
    captured: CapturedDecision | None = None
    tries: int = 0
    known: int | None = None

    def conclude(self, stands: Decision | None, error: BaseException | None) -> None:
        """Receive the decision that stands under its id, or the error."""
        raise NotImplementedError

    def load_user(self) -> None:
        """Called if its user is not in memory, or behind: it is to be submitted again once they are not."""
        raise NotImplementedError

    def answer_unlogged(self) -> None:
        """Answer with the decision, which nobody logs and nothing can reward."""
        raise NotImplementedError


class ScoreBatch:
    """Gathers a deployment's requests and decides them at the end of the loop's turn."""

    def __init__(self, deployment: ScoringContext) -> None:
        self._deployment = deployment
        self._waiting: list[ScoreRequest] = []

    def submit(self, request: ScoreRequest) -> None:
        """Submit a request to be decided with its neighbours."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._decide_waiting)
        self._waiting.append(request)

    def _decide_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        groups: dict[tuple[str, int, int], list[tuple[ScoreRequest, Profile]]] = {}
        store, absent = self._deployment.store, list[ScoreRequest]()
        for each in waiting:
            profile = find_profile(store, each.request["user_id"], each.owner)
            is_behind = each.known is None and store.is_behind(each.owner) and not goes_unlogged(self._deployment)
            if profile is None or is_behind:
                absent.append(each)
                continue
            count = len(each.request["candidates"])
            shape = each.policy.name, count, count if each.eligible is None else len(each.eligible)
            groups.setdefault(shape, []).append((each, profile))
        for group in groups.values():
            self._decide(group)
        for each in absent:
            each.load_user()

    def _decide(self, group: Sequence[tuple[ScoreRequest, Profile]]) -> None:
        """Decide requests of one policy and equally many candidates, of which equally many may be picked."""
        is_unlogged = goes_unlogged(self._deployment)
        try:
            decisions = _make_decisions(self._deployment, group, is_logged=not is_unlogged)
        except Exception as error:  # noqa: BLE001 (one of them is at fault: each is tried alone)
            if len(group) == 1:
                group[0][0].conclude(None, error)
                return
            for one in group:
                self._decide([one])
            return
        for (each, profile), decision in zip(group, decisions, strict=True):
            if is_unlogged:
                each.decision, each.numbers = decision, decision.numbers
                each.answer_unlogged()
            else:
                self._submit_decision(each, profile, decision)

    def _submit_decision(self, each: ScoreRequest, profile: Profile, decision: Decision) -> None:
        deployment = self._deployment
        try:
            if not each.is_named and deployment.running_experiment is not None:
                decision.experiment = deployment.running_experiment.seq
            if deployment.shadows is not None:
                each.captured = deployment.shadows.capture(decision, profile, each.request)
            numbers = decision.numbers
            outcome = deployment.store.decide(decision)
        except Exception as error:  # noqa: BLE001 (its neighbours are not to fail with it)
            each.conclude(None, error)
        else:
            each.decision, each.numbers = decision, numbers
            watch(outcome, each.conclude)


def make_decision(
    deployment: ScoringContext,
    request: Mapping[str, Any],
    body: bytes,
    client: str,
    policy: Policy,
    profile: Profile,
) -> Decision:
    """Number a request, draw for it under what its user's profile holds, and submit nothing.

    Raises:
        InvalidRequestError: it cannot be encoded, or excludes what it may not.
    """
    owner, eligible = profile.user_id, find_eligible(request)
    asked = ScoreRequest(request, body, client, owner, policy, is_named=False, eligible=eligible)
    (decision,) = _make_decisions(deployment, [(asked, profile)])
    return decision


def goes_unlogged(deployment: ScoringContext) -> bool:
    """Whether decisions are made from memory now, because the ledger cannot be reached and that is not to matter."""
    return deployment.score_when_full and deployment.store.is_away()


def count_try(tries: int) -> int:
    """One more try of a decision whose user's state had moved.

    Raises:
        OverloadedError: they were too many.
    """
    if tries == _MAX_TRIES:
        raise OverloadedError("this user's state moves faster than it can be decided on; try again")
    return tries + 1


def find_profile(store: Store, user_id: str, owner: str) -> Profile | None:
    """The profile that decides for a user, if both are in memory: theirs, or everybody's, who is the owner then."""
    profile = store.get_cached_profile(user_id)
    return profile if owner == user_id or profile is None else store.get_cached_profile(owner)


def _make_decisions(
    deployment: ScoringContext, group: Sequence[tuple[ScoreRequest, Profile]], *, is_logged: bool = True
) -> list[Decision]:
    asked, profiles = [each for each, _ in group], [profile for _, profile in group]
    policy = asked[0].policy
    requests = [each.request for each in asked]
    candidates = [request["candidates"] for request in requests]
    features = policy.schema.read_candidates(list(chain.from_iterable(candidates)))
    x = policy.schema.encode_requests([request.get("context", _EMPTY) for request in requests], features)
    ts, store = deployment.clock(), deployment.store
    # What is not logged needs no number, and after half a minute this process has none left.
    seqs = store.next_seqs(ts, len(group)) if is_logged else [0] * len(group)
    made = zip(requests, deployment.decision_ids.make(seqs), strict=True)
    ids = [request.get("decision_id") or decision_id for request, decision_id in made]
    seeds = hash_to_uniforms(store.secret, ids)
    priors = deployment.get_priors(policy, [each.owner for each in asked])
    eligible = _get_eligible(asked)
    numbers, picks, floor = choose_batch(policy, profiles, x, seeds, priors=priors, now=ts, eligible=eligible)
    places = np.arange(len(group)), picks.index
    ref = deployment.policy_refs[policy.name]
    excluded = 0 if eligible is None else x.shape[1] - len(eligible[0])
    settings, teaches = deployment.reward_settings, deployment.mode != "logging"
    drawn = picks.index.tolist(), picks.exploring.tolist(), *numbers[places[0], 2:, places[1]].T.tolist()
    # Rows of x are views of a small array: decisions go first in, first out, so its rows leave memory together.
    arrays = numbers, x[places], numbers[:, 3].argmax(axis=1).tolist()  # the last: the likeliest
    columns = zip(asked, requests, ids, seqs, seeds.tolist(), *drawn, *arrays, strict=True)
    return [
        Decision(  # by place: more than fifteen names in a call would be put into a dictionary
            decision_id,
            "decision_id" in request,
            seq,
            each.owner,
            ref,
            each.client,
            ts,
            request["candidates"][pick]["id"],
            pick,
            exploring,
            seed,
            score,
            propensity,
            floor,
            each.body,
            of_all,
            row,
            request,
            None if request["user_id"] == each.owner else request["user_id"],
            excluded,
            top,
            _build_window(settings, request, ts, teaches=teaches),
            each.tries,
            each.known,
        )
        for each, request, decision_id, seq, seed, pick, exploring, score, propensity, of_all, row, top in columns
    ]


def _build_window(
    settings: RewardSettings, request: Mapping[str, Any], ts: float, *, teaches: bool
) -> RewardWindow | None:
    """Until when rewards of a decision made at ``ts`` count; ``None`` if its first one settles it, whenever.

    Silence teaches nothing where nothing does.
    """
    held = bool(request.get("defer"))
    if settings.window is None:
        return RewardWindow(held) if held else None
    return RewardWindow(held, ts + settings.window, settings.default_reward if teaches else None)


def _get_eligible(group: Sequence[ScoreRequest]) -> list[Indices] | None:
    """Places of the candidates that may be picked, of each; ``None`` if all may. A group has equally many."""
    places = [each.eligible for each in group if each.eligible is not None]
    return places or None

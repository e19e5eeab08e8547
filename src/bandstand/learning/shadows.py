"""Shadows: what other policies would have done with a decision, looked at after it was answered.

What they believe of the user is captured when the decision is made; the rest waits in a queue, of which the event loop
handles one decision a turn, between its other work. Where more decisions come than there is time for, the queue is full
and they go unlooked at: no caller waits for a shadow. The store teaches shadows from rewards, and misses none.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from bandstand.bandit.choice import choose
from bandstand.bandit.eligibility import find_eligible, spread
from bandstand.bandit.policies import Policy
from bandstand.bandit.policy_state import PolicyState
from bandstand.bandit.profile import Profile
from bandstand.bandit.ridge import Prior
from bandstand.errors import BandstandError
from bandstand.store.protocol import Store
from bandstand.store.records import Array, Decision, PolicyRef
from bandstand.store.tables.shadows import Shadow

MAX_WAITING = 1000

log = structlog.get_logger("bandstand")


class _ShadowState(NamedTuple):
    """What a policy believes of a user.

    Attributes:
        state: what the user has taught it, which goes on learning; ``None`` for nothing yet.
        state_before: a copy of it.
    """

    policy: Policy
    prior: Prior
    state: PolicyState | None
    state_before: PolicyState | None

    def build_profile(self, user_id: str) -> Profile:
        """All that the policy knew of the user then."""
        profile = Profile(user_id)
        if self.state is not None and self.state_before is not None:
            # Where nothing was taught since, the live state is the same, and keeps what is derived from it.
            unmoved = self.state.ridge is self.state_before.ridge and self.state.as_of == self.state_before.as_of
            profile.policies[self.policy.name, self.policy.schema.name] = self.state if unmoved else self.state_before
        return profile


class CapturedDecision(NamedTuple):
    """A decision under way, and what each policy in the shadow believes at that moment."""

    decision: Decision
    request: Mapping[str, Any]
    shadow_states: list[_ShadowState]


class ShadowStatus(NamedTuple):
    """How looking goes, since the start.

    Attributes:
        waiting: decisions that wait to be looked at.
        dropped: decisions that were not, for the queue was full or the ledger did not take what was seen.
        failed: looks at a decision in which a policy could not give an answer.
    """

    waiting: int
    dropped: int
    failed: int


class ShadowRunner:
    """The policies in the shadow of one deployment.

    Args:
        policies: who.
        refs: what an event stores of each, by name.
        store: keeps what they would have done.
        prior: what a policy believes of a user before their first reward.
        max_waiting: decisions that may wait.
    """

    def __init__(
        self,
        policies: Sequence[Policy],
        refs: Mapping[str, PolicyRef],
        store: Store,
        prior: Callable[[Policy, str], Prior],
        *,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.policies = tuple(policies)
        self._refs = refs
        self._store = store
        self._prior = prior
        self._max_waiting = max_waiting
        self._queue: deque[CapturedDecision] = deque()
        self._scheduled = False
        self._dropped = 0
        self._failed = 0

    def capture(self, decision: Decision, profile: Profile, request: Mapping[str, Any]) -> CapturedDecision:
        """Take note of what every shadow believes now, just before the decision is handed over."""
        shadow_states = []
        for policy in self.policies:
            if policy.name != decision.policy.name:
                state = profile.policies.get((policy.name, policy.schema.name))
                state_before = None if state is None else state.copy()
                shadow_states.append(_ShadowState(policy, self._prior(policy, profile.user_id), state, state_before))
        return CapturedDecision(decision, request, shadow_states)

    def enqueue(self, captured: CapturedDecision) -> None:
        """Look at a decision that stands, in a later turn of the event loop."""
        if not captured.shadow_states:
            return
        if len(self._queue) >= self._max_waiting:
            self._dropped += 1
            return
        self._queue.append(captured)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run_next)

    def close(self) -> None:
        """Look at what still waits; the store must be open."""
        while self._queue:
            self._evaluate_decision(self._queue.popleft())

    def get_status(self) -> ShadowStatus:
        """How it goes."""
        return ShadowStatus(len(self._queue), self._dropped, self._failed)

    def _run_next(self) -> None:
        try:
            if self._queue:  # it may have been closed meanwhile
                self._evaluate_decision(self._queue.popleft())
        finally:
            self._scheduled = bool(self._queue)
            if self._scheduled:
                asyncio.get_running_loop().call_soon(self._run_next)

    def _evaluate_decision(self, captured: CapturedDecision) -> None:
        encoded: dict[str, Array] = {}
        shadows = []
        for belief in captured.shadow_states:
            try:
                shadows.append(self._evaluate_shadow(captured, belief, encoded))
            except (BandstandError, ValueError) as error:
                self._failed += 1
                log.warning("a shadow has no answer", policy=belief.policy.name, reason=str(error))
        try:
            if shadows:
                self._store.log_shadows(captured.decision, shadows)
        except BandstandError:
            self._dropped += 1

    def _evaluate_shadow(
        self, captured: CapturedDecision, shadow_state: _ShadowState, encoded: dict[str, Array]
    ) -> Shadow:
        policy, decision = shadow_state.policy, captured.decision
        if policy.schema.name not in encoded:
            features = policy.schema.read_candidates(captured.request["candidates"])
            encoded[policy.schema.name] = policy.schema.encode(captured.request.get("context", {}), features)
        x, eligible = encoded[policy.schema.name], find_eligible(captured.request)
        distribution, pick, exploring = choose(
            policy,
            shadow_state.build_profile(decision.user_id),
            x if eligible is None else x[eligible],
            decision.seed,
            prior=shadow_state.prior,
            now=decision.ts,
        )
        probabilities = spread(distribution.probability, eligible, len(x))
        pick = pick if eligible is None else int(eligible[pick])
        return Shadow(
            policy=self._refs[policy.name],
            pick=pick,
            exploring=exploring,
            agrees=pick == decision.pick,
            propensity=float(probabilities[pick]),
            weight=float(probabilities[decision.pick]) / decision.propensity,
            probabilities=probabilities,
        )

"""The memory store: the same promises as the embedded one, but for a process's life; for simulation and tests."""

import secrets
from collections.abc import Callable, Iterator
from itertools import count, islice
from time import time

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.errors import UnknownDecisionError
from bandstand.bandit.profile import Profile
from bandstand.store.events import Decision, Erasure, PolicyTotals, Reward, Rewarded, Sequence, Status, UserPage
from bandstand.store.generations import Lineage, LoggedGeneration, PromptTotals


class _User:
    __slots__ = ("decisions", "marks", "number", "profile", "rewards")

    def __init__(self, profile: Profile, number: int) -> None:
        self.profile = profile
        self.number = number  # 0 until the first event
        self.decisions: list[Decision] = []
        self.rewards: list[Reward] = []
        self.marks = 0


class MemoryStore:
    """Profiles and events in dictionaries; every method settles at once.

    Args:
        catalogue: the configured policies.
        clock: seconds since the epoch.
        secret: keys the draws; random if not given.
    """

    def __init__(self, catalogue: Catalogue, *, clock: Callable[[], float] = time, secret: bytes | None = None) -> None:
        self.secret = secret or secrets.token_bytes(32)
        self._catalogue = catalogue
        self._clock = clock
        self._sequence = Sequence()
        self._numbers = count(1)
        self._users: dict[str, _User] = {}
        self._decisions: dict[str, Decision] = {}
        self._keyed: dict[tuple[str, str], Reward] = {}
        self._totals: dict[str, PolicyTotals] = {}
        self._lineage = Lineage()
        self._erased: dict[str, int] = {}

    async def open(self) -> None:
        """Nothing to own."""

    async def close(self) -> None:
        """Nothing to write."""

    def status(self) -> Status:
        """Always ready; nothing is durable."""
        return Status(durability="memory", warm_users=len(self._users))

    def warm(self, user_id: str) -> Profile | None:
        """The user's profile if there is one."""
        user = self._users.get(user_id)
        return None if user is None else user.profile

    async def profile(self, user_id: str) -> Profile:
        """The user's profile; an empty one for a user never met."""
        return self._user(user_id).profile

    def next_seq(self, ts: float) -> int:
        """The number of an event about to be handed over."""
        return self._sequence.next(ts)

    async def decide(self, decision: Decision) -> Decision:
        """Log a decision and count it."""
        earlier = self._decisions.get(decision.decision_id)
        if earlier is not None:
            return earlier
        user = self._met(decision.user_id)
        self._decisions[decision.decision_id] = decision
        user.decisions.append(decision)
        user.profile.decided(decision.seq, decision.policy.key, decision.ts, exploring=decision.exploring)
        self._count(decision.policy.name, PolicyTotals(decisions=1, explores=int(decision.exploring)))
        self._lineage.decided(decision)
        return decision

    async def reward(self, reward: Reward) -> Rewarded:
        """Log a reward and teach it, once."""
        if reward.idempotency is not None and (known := self._keyed.get(reward.idempotency)) is not None:
            return Rewarded(known, "key")
        decision = None
        if reward.decision_id is not None:
            decision = self._decisions.get(reward.decision_id)
            if decision is None or decision.user_id != reward.user_id:
                message = "no such decision"
                raise UnknownDecisionError(message)
            if decision.reward is not None:
                return Rewarded(decision.reward, "decision")
        user = self._met(reward.user_id)
        if decision is not None:
            decision.reward = reward
            reward.decision_seq = decision.seq
            reward.x = decision.x
            if decision.seq <= user.profile.reset_seq:
                reward.applied, reward.reason = False, "reset"
        reward.seq = self._sequence.next(reward.ts)
        user.rewards.append(reward)
        if reward.idempotency is not None:
            self._keyed[reward.idempotency] = reward
        if reward.applied and reward.x is not None:
            ref = reward.policy
            user.profile.rewarded(reward.seq, ref.key, reward.ts, reward.x, reward.value, reward.weight, ref.half_life)
        self._count(reward.policy.name, PolicyTotals(rewards=1, reward_sum=reward.value))
        self._lineage.rewarded(reward)
        return Rewarded(reward, "new")

    async def decision(self, decision_id: str) -> Decision | None:
        """The decision of that id."""
        return self._decisions.get(decision_id)

    async def receipt(self, decision_id: str) -> Decision | None:
        """The decision of that id, as logged."""
        return self._decisions.get(decision_id)

    async def history(self, user_id: str, limit: int) -> list[Decision]:
        """The user's newest decisions after the last reset, oldest first."""
        user = self._users.get(user_id)
        if user is None:
            return []
        return [decision for decision in user.decisions[-limit:] if decision.seq > user.profile.reset_seq]

    async def generated(self, generation: LoggedGeneration) -> bool:
        """Log a generation, unless its user was erased after it began; returns whether it was logged."""
        if self._erased.get(generation.user_id, -1) > generation.seq:
            return False
        self._met(generation.user_id)
        self._lineage.generated(generation)
        return True

    async def prompt_totals(self) -> list[PromptTotals]:
        """What each prompt came to, in order of first use."""
        return self._lineage.totals()

    async def reset(self, user_id: str, client: str) -> None:  # noqa: ARG002 (there is no ledger to name the client in)
        """Forget what every policy learned about the user. Idempotent."""
        user = self._users.get(user_id)
        if user is not None and user.number:
            user.profile.reset(self._sequence.next(self._clock()))
            user.marks += 1

    async def erase(self, user_id: str, client: str) -> Erasure:  # noqa: ARG002 (there is no ledger to name the client in)
        """Delete everything about the user. Idempotent."""
        user = self._users.pop(user_id, None)
        self._erased[user_id] = self._sequence.next(self._clock())
        if user is None:
            return Erasure()
        for decision in user.decisions:
            del self._decisions[decision.decision_id]
        for reward in user.rewards:
            if reward.idempotency is not None:
                self._keyed.pop(reward.idempotency, None)
        generations = self._lineage.erased(user_id, user.decisions)
        return Erasure(len(user.decisions), len(user.rewards), user.marks, generations=generations)

    async def users(self, prefix: str, after: int, limit: int) -> UserPage:
        """Known users whose id starts with ``prefix``, in order of first sight, from the cursor ``after``."""
        page = list(islice(self._known(prefix, after), limit + 1))
        return UserPage([user_id for user_id, _ in page[:limit]], page[limit - 1][1] if len(page) > limit else None)

    async def user_count(self) -> int:
        """How many users had an event."""
        return sum(1 for _ in self._known("", 0))

    async def totals(self) -> dict[str, PolicyTotals]:
        """Deployment-wide counts by policy."""
        return dict(self._totals)

    def _user(self, user_id: str) -> _User:
        user = self._users.get(user_id)
        if user is None:
            user = self._users[user_id] = _User(Profile(user_id), 0)
        return user

    def _met(self, user_id: str) -> _User:
        user = self._user(user_id)
        if not user.number:
            user.number = next(self._numbers)
        return user

    def _known(self, prefix: str, after: int) -> Iterator[tuple[str, int]]:
        known = ((user_id, user.number) for user_id, user in self._users.items() if user.number > after)
        return iter(sorted((entry for entry in known if entry[0].startswith(prefix)), key=lambda entry: entry[1]))

    def _count(self, policy: str, more: PolicyTotals) -> None:
        have = self._totals.get(policy, PolicyTotals())
        self._totals[policy] = PolicyTotals(
            have.decisions + more.decisions,
            have.explores + more.explores,
            have.rewards + more.rewards,
            have.reward_sum + more.reward_sum,
        )

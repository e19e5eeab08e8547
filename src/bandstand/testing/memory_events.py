"""Events of users in memory: decisions, rewards and what is taken back; what the memory store and its turns share."""

from collections.abc import Callable, Collection, Iterator
from itertools import count
from operator import attrgetter

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.memory import TaughtReward
from bandstand.bandit.policy_state import PolicyState
from bandstand.bandit.profile import Profile, StateKey
from bandstand.store.records import Decision, Reward, Sequence
from bandstand.store.tables import updates
from bandstand.store.tables.judgements import JudgedTurn
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.store.tables.revocations import RevocableReward
from bandstand.testing.memory_sums import MemorySums


class MemoryUser:
    """A user and their events.

    Attributes:
        number: order of first sight; 0 until the first event.
        revoked: event numbers of rewards that were taken back.
        marks: how many resets.
        parts: of rewards that take time.
    """

    __slots__ = ("decisions", "marks", "number", "parts", "profile", "revoked", "rewards")

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.number = 0
        self.decisions: list[Decision] = []
        self.rewards: list[Reward] = []
        self.revoked: set[int] = set()
        self.marks = 0
        self.parts: list[Reward] = []


class MemoryEvents:
    """Users and their events in dictionaries.

    Attributes:
        sums: what is counted over users.
        users: by their ids.
        decisions: by their ids.
        rewards_by_key: by scope and Idempotency-Key.
        turns_by_key: by scope and Idempotency-Key.
        revoked_seq: the newest event that took something back.
    """

    def __init__(self, catalogue: Catalogue, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.sequence = Sequence()
        self.registry = PolicyRegistry(catalogue)
        self.sums = MemorySums()
        self.users: dict[str, MemoryUser] = {}
        self.decisions: dict[str, Decision] = {}
        self.rewards_by_key: dict[tuple[str, str], Reward] = {}
        self.turns_by_key: dict[tuple[str, str], JudgedTurn] = {}
        self.revoked_seq = 0
        self._numbers = count(1)

    def get_user(self, user_id: str) -> MemoryUser:
        """The user; a new one for an id never met."""
        user = self.users.get(user_id)
        if user is None:
            user = self.users[user_id] = MemoryUser(Profile(user_id))
        return user

    def register_user(self, user_id: str) -> MemoryUser:
        """The user, known from here on."""
        user = self.get_user(user_id)
        if not user.number:
            user.number = next(self._numbers)
        return user

    def iter_known_users(self, prefix: str, after: int) -> Iterator[tuple[str, int]]:
        """Known users in order of first sight, each with its number."""
        known = ((user_id, user.number) for user_id, user in self.users.items() if user.number > after)
        return iter(sorted((entry for entry in known if entry[0].startswith(prefix)), key=lambda entry: entry[1]))

    def log_reward(self, reward: Reward, decision: Decision | None) -> None:
        """Number a reward of the decision, or a legacy one, count it, and teach it."""
        user = self.register_user(reward.user_id)
        if decision is not None:
            decision.reward = reward
        reward.seq = self.sequence.next(reward.ts)
        user.rewards.append(reward)
        if reward.idempotency is not None:
            self.rewards_by_key[reward.idempotency] = reward
        body, pick = (None, None) if decision is None else (decision.body, decision.pick)
        reward.shadow_updates = updates.build_shadow_updates(
            self.registry, reward.policy, reward.seq, reward.features, body, pick
        )
        updates.apply_reward(self.registry, user.profile, reward)
        self.sums.add_reward(reward, None if decision is None else decision.seq)

    def list_taught_rewards(self, user_id: str, key: StateKey) -> list[TaughtReward]:
        """What a policy was taught of a user since the last reset, the oldest first, but for what was taken back."""
        user = self.users.get(user_id)
        if user is None:
            return []
        return [
            TaughtReward(reward.ts, x, reward.value, reward.weight)
            for reward in user.rewards
            if reward.applied and reward.seq > user.profile.reset_seq and reward.seq not in user.revoked
            for ref, x in ((reward.policy, reward.x), *reward.shadow_updates)
            if ref.key == key and x is not None
        ]

    def refold(self, policy: str) -> None:
        """Sum everybody's rewards of a policy again, under its present memory."""
        for user_id, user in self.users.items():
            for key, state in user.profile.policies.items():
                if key[0] == policy:
                    fresh = PolicyState()
                    for taught in self.list_taught_rewards(user_id, key):
                        memory = self.registry.get_memory(policy)
                        fresh.learn(taught.x, taught.reward, taught.weight, taught.ts, *memory)
                    fresh.pulls, fresh.explores, fresh.last_updated = state.pulls, state.explores, state.last_updated
                    user.profile.policies[key] = fresh

    def find_revocable(self, reward_seqs: Collection[int]) -> list[RevocableReward]:
        """Those of the rewards that the sums hold, in order."""
        found = [
            RevocableReward(
                reward.seq,
                reward.user_id,
                user.number,
                reward.policy,
                0,
                reward.ts,
                reward.value,
                reward.weight,
                reward.x,
                reward.shadow_updates,
            )
            for user in self.users.values()
            for reward in user.rewards
            if reward.seq in reward_seqs
            and reward.applied
            and reward.x is not None
            and reward.seq > user.profile.reset_seq
            and reward.seq not in user.revoked
        ]
        return sorted(found, key=attrgetter("seq"))

    def revoke(self, revocable: Collection[RevocableReward], *, is_revision: bool = False) -> None:
        """Take rewards back out of sums and counters, for good or for others in their place."""
        for each in revocable:
            user = self.users[each.user_id]
            seq = self.sequence.next(self.clock())
            self.revoked_seq = self.revoked_seq if is_revision else seq
            each.apply_revocation(seq, user.profile)
            user.revoked.add(each.seq)
            self.sums.remove_reward(next(reward for reward in user.rewards if reward.seq == each.seq))

"""The memory store: the same promises as the embedded one, but for a process's life; for simulation and tests."""

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import count, islice
from operator import add, attrgetter
from time import time
from typing import Any

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.profile import Profile
from bandstand.errors import UnknownDecisionError
from bandstand.store.protocol import require_made_by
from bandstand.store.records import (
    AcceptedReward,
    Decision,
    Erasure,
    PolicyRef,
    PolicyTotals,
    Reward,
    Sequence,
    StoreStatus,
    Updates,
    UserPage,
)
from bandstand.store.tables import updates
from bandstand.store.tables.generations import GenerationLineage, LoggedGeneration, PromptTotals
from bandstand.store.tables.loop_health import Arrivals, Draws, LoopSums, build_arrival_key, compute_draw_sums, to_day
from bandstand.store.tables.policies import PolicyRegistry
from bandstand.store.tables.promotions import ExperimentStart, Promotion
from bandstand.store.tables.revocations import RevocableReward
from bandstand.store.tables.shadows import MemoryShadows, Shadow, ShadowSums
from bandstand.store.tables.undo import SelectedRewards, Selection, UndoRecord


class _User:
    __slots__ = ("decisions", "marks", "number", "profile", "revoked", "rewards")

    def __init__(self, profile: Profile, number: int) -> None:
        self.profile = profile
        self.number = number  # 0 until the first event
        self.decisions: list[Decision] = []
        self.rewards: list[Reward] = []
        self.revoked: set[int] = set()
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
        self._rewards_by_key: dict[tuple[str, str], Reward] = {}
        self._totals: dict[str, PolicyTotals] = {}
        self._lineage = GenerationLineage()
        self._registry = PolicyRegistry(catalogue)
        self._shadows = MemoryShadows()
        self._undos: list[tuple[str | None, UndoRecord]] = []  # beside whose it is, of one decision's reward
        self._erased: dict[str, int] = {}
        self._revoked_seq = 0
        self._draws: dict[tuple[int, str, int], list[float]] = {}
        self._arrivals: dict[tuple[int, str, str, int], list[float]] = {}
        self._promotions: list[Promotion] = []
        self._experiment: tuple[str | None, ExperimentStart | None] = (None, None)
        self._enrolments: dict[tuple[int, str], set[str]] = {}

    async def open(self) -> None:
        """Nothing to own."""

    async def close(self) -> None:
        """Nothing to write."""

    def status(self) -> StoreStatus:
        """Always ready; nothing is durable."""
        return StoreStatus(durability="memory", warm_users=len(self._users))

    def get_cached_profile(self, user_id: str) -> Profile | None:
        """The user's profile if there is one."""
        user = self._users.get(user_id)
        return None if user is None else user.profile

    async def load_profile(self, user_id: str) -> Profile:
        """The user's profile; an empty one for a user never met."""
        return self._get_user(user_id).profile

    def next_seq(self, ts: float) -> int:
        """The number of an event about to be handed over."""
        return self._sequence.next(ts)

    async def decide(self, decision: Decision) -> Decision:
        """Log a decision and count it."""
        earlier = self._decisions.get(decision.decision_id)
        if earlier is not None:
            return earlier
        user = self._register_user(decision.user_id)
        self._decisions[decision.decision_id] = decision
        user.decisions.append(decision)
        user.profile.apply_decision(decision.seq, decision.policy.key, decision.ts, exploring=decision.exploring)
        self._add_totals(decision.policy.name, PolicyTotals(decisions=1, explores=int(decision.exploring)))
        part, amounts = compute_draw_sums(decision)
        _add_amounts(self._draws, (to_day(decision.seq), decision.policy.name, part), amounts)
        if decision.experiment:
            self._enrolments.setdefault((decision.experiment, decision.policy.name), set()).add(decision.user_id)
        self._lineage.add_decision(decision)
        return decision

    async def reward(self, reward: Reward) -> AcceptedReward:
        """Log a reward and teach it, once."""
        if reward.idempotency is not None and (known := self._rewards_by_key.get(reward.idempotency)) is not None:
            return AcceptedReward(known, "key")
        decision = None
        if reward.decision_id is not None:
            decision = self._decisions.get(reward.decision_id)
            if decision is None or decision.user_id != reward.user_id:
                message = "no such decision"
                raise UnknownDecisionError(message)
            require_made_by(decision, reward.policy)
            if decision.reward is not None:
                return AcceptedReward(decision.reward, "decision")
        user = self._register_user(reward.user_id)
        if decision is not None:
            decision.reward = reward
            reward.decision_seq = decision.seq
            reward.x = decision.x
            if decision.seq <= user.profile.reset_seq:
                reward.applied, reward.reason = False, "reset"
        reward.seq = self._sequence.next(reward.ts)
        user.rewards.append(reward)
        if reward.idempotency is not None:
            self._rewards_by_key[reward.idempotency] = reward
        reward.shadow_updates = self._build_shadow_updates(reward, decision)
        if reward.applied and reward.x is not None:
            seq, ts, value, weight = reward.seq, reward.ts, reward.value, reward.weight
            for ref, x in ((reward.policy, reward.x), *reward.shadow_updates):
                user.profile.apply_reward(seq, ref.key, ts, x, value, weight, ref.half_life)
        self._shadows.set_reward(reward.decision_seq, reward.value)
        self._add_totals(reward.policy.name, PolicyTotals(rewards=1, reward_sum=reward.value))
        _add_amounts(self._arrivals, build_arrival_key(reward), (1, reward.value))
        self._lineage.add_reward(reward)
        return AcceptedReward(reward, "new")

    async def find_reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with that Idempotency-Key."""
        return self._rewards_by_key.get(key)

    async def select_rewards(self, selection: Selection) -> SelectedRewards:
        """The rewards that an operator means, and what of them can be taken back."""
        if selection.decision_id is not None and selection.decision_id not in self._decisions:
            raise UnknownDecisionError("no such decision")
        meant = [
            (user, reward)
            for user in self._users.values()
            for reward in user.rewards
            if (selection.decision_id is None or reward.decision_id == selection.decision_id)
            and (selection.client is None or reward.client == selection.client)
            and selection.judge_version is None  # no judge ever gave one here
            and (selection.since is None or reward.ts >= selection.since)
            and (selection.until is None or reward.ts < selection.until)
        ]
        taught = [(user, reward) for user, reward in meant if reward.applied]
        not_revoked = [(user, reward) for user, reward in taught if reward.seq not in user.revoked]
        revocable = [reward for user, reward in not_revoked if reward.seq > user.profile.reset_seq]
        return SelectedRewards(
            revocable=sorted(reward.seq for reward in revocable),
            users=len({reward.user_id for reward in revocable}),
            policies=dict(sorted(Counter(reward.policy.name for reward in revocable).items())),
            revoked_before=len(taught) - len(not_revoked),
            forgotten=len(not_revoked) - len(revocable),
            never_taught=len(meant) - len(taught),
        )

    async def has_revocations_since(self, seq: int) -> bool:
        """Whether anything was taken back after the event ``seq``."""
        return self._revoked_seq > seq

    async def revoke(
        self,
        reward_seqs: Collection[int],
        *,
        cause: str,  # noqa: ARG002 (there is no ledger to say why in)
        client: str,
        selection: Selection | None = None,
    ) -> list[RevocableReward]:
        """Take rewards back out of sums and counters."""
        revocable = [
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
            for user in self._users.values()
            for reward in user.rewards
            if reward.seq in reward_seqs
            and reward.applied
            and reward.x is not None
            and reward.seq > user.profile.reset_seq
            and reward.seq not in user.revoked
        ]
        for each in sorted(revocable, key=attrgetter("seq")):
            user = self._users[each.user_id]
            self._revoked_seq = self._sequence.next(self._clock())
            each.apply_revocation(self._revoked_seq, user.profile)
            user.revoked.add(each.seq)
            self._add_totals(each.policy.name, PolicyTotals(rewards=-1, reward_sum=-each.value))
            reward = next(reward for reward in user.rewards if reward.seq == each.seq)
            _add_amounts(self._arrivals, build_arrival_key(reward), (-1, -each.value))
            self._lineage.remove_reward(reward)
            self._shadows.set_reward(reward.decision_seq, None)
        if selection is not None and revocable:
            ts = self._clock()
            record = UndoRecord.from_rewards(self._sequence.next(ts), selection, revocable, client=client, ts=ts)
            whose = revocable[0].user_id if selection.decision_id is not None else None
            self._undos.append((whose, record))
        return revocable

    async def list_undos(self, before: int, limit: int) -> list[UndoRecord]:
        """Records of undos, the newest first, from before the event ``before``."""
        return [record for _, record in reversed(self._undos) if record.seq < before][:limit]

    async def find_decision(self, decision_id: str) -> Decision | None:
        """The decision of that id."""
        return self._decisions.get(decision_id)

    async def find_receipt(self, decision_id: str) -> Decision | None:
        """The decision of that id, as logged."""
        return self._decisions.get(decision_id)

    async def list_history(self, user_id: str, limit: int) -> list[Decision]:
        """The user's newest decisions after the last reset, oldest first."""
        user = self._users.get(user_id)
        if user is None:
            return []
        return [decision for decision in user.decisions[-limit:] if decision.seq > user.profile.reset_seq]

    async def log_generation(self, generation: LoggedGeneration) -> bool:
        """Log a generation, unless its user was erased after it began; returns whether it was logged."""
        if self._erased.get(generation.user_id, -1) > generation.seq:
            return False
        self._register_user(generation.user_id)
        self._lineage.add_generation(generation)
        return True

    async def load_prompt_totals(self) -> list[PromptTotals]:
        """What each prompt came to, in order of first use."""
        return self._lineage.get_totals()

    async def reset(self, user_id: str, client: str) -> None:  # noqa: ARG002 (there is no ledger to name the client in)
        """Forget what every policy learned about the user. Idempotent."""
        user = self._users.get(user_id)
        if user is not None and user.number:
            user.profile.apply_reset(self._sequence.next(self._clock()))
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
                self._rewards_by_key.pop(reward.idempotency, None)
        enrolments = sum(user_id in users for users in self._enrolments.values())
        for users in self._enrolments.values():
            users.discard(user_id)
        undone = [(whose, record) for whose, record in self._undos if whose != user_id]
        user.marks += len(self._undos) - len(undone)
        self._undos = undone
        generations = self._lineage.remove_user(user_id, user.decisions)
        shadows = self._shadows.remove_decisions([decision.seq for decision in user.decisions])
        return Erasure(
            len(user.decisions),
            len(user.rewards),
            user.marks,
            generations=generations,
            revocations=len(user.revoked),
            enrolments=enrolments,
            shadows=shadows,
        )

    async def list_users(self, prefix: str, after: int, limit: int) -> UserPage:
        """Known users whose id starts with ``prefix``, in order of first sight, from the cursor ``after``."""
        page = list(islice(self._iter_known_users(prefix, after), limit + 1))
        return UserPage([user_id for user_id, _ in page[:limit]], page[limit - 1][1] if len(page) > limit else None)

    async def count_users(self) -> int:
        """How many users had an event."""
        return sum(1 for _ in self._iter_known_users("", 0))

    async def load_policy_totals(self) -> dict[str, PolicyTotals]:
        """Deployment-wide counts by policy."""
        return dict(self._totals)

    async def load_loop_sums(self, days: int) -> LoopSums:
        """Sums that tell whether the learning loop is sound."""
        since = to_day(self._sequence.last) - days + 1
        draws, arrivals = dict[tuple[Any, ...], list[float]](), dict[tuple[Any, ...], list[float]]()
        for tables, summed in ((self._draws, draws), (self._arrivals, arrivals)):
            for (day, *rest), amounts in tables.items():
                _add_amounts(summed, (None, *rest), amounts)
                if day >= since:
                    _add_amounts(summed, (day, *rest), amounts)
        return LoopSums(
            [Draws(*key, *amounts) for key, amounts in draws.items()],
            [Arrivals(*key, *amounts) for key, amounts in arrivals.items()],
        )

    async def log_promotion(self, promotion: Promotion) -> None:
        """Log a change of the active policy."""
        self._promotions.append(promotion)

    async def list_promotions(self) -> list[Promotion]:
        """Every change of the active policy, the oldest first."""
        return list(self._promotions)

    async def set_experiment(self, definition: str | None) -> ExperimentStart | None:
        """Say which experiment runs from now on, if any."""
        if self._experiment[0] != definition:
            ts = self._clock()
            self._experiment = (
                definition,
                None if definition is None else ExperimentStart(self._sequence.next(ts), ts),
            )
        return self._experiment[1]

    async def count_enrolled(self, experiment: int) -> Mapping[str, int]:
        """How many users each arm of an experiment has decided for."""
        return {arm: len(users) for (begun, arm), users in self._enrolments.items() if begun == experiment and users}

    async def set_shadows(self, policies: Collection[PolicyRef]) -> None:
        """Say which policies are in the shadow from now on."""
        if list(policies) != self._registry.get_shadows():
            self._registry.record_shadows(self._sequence.next(self._clock()), policies)

    def log_shadows(self, decision: Decision, shadow_picks: Collection[Shadow]) -> None:
        """Log what policies in the shadow would have done."""
        if self._decisions.get(decision.decision_id) is decision:
            stands = decision.reward is not None and decision.reward.seq not in self._users[decision.user_id].revoked
            self._shadows.add(decision.seq, shadow_picks, decision.reward.value if decision.reward and stands else None)

    async def load_shadows(self, decision: Decision) -> list[Shadow]:
        """What policies in the shadow would have done with a decision."""
        return self._shadows.get_shadows(decision.seq)

    async def load_shadow_sums(self) -> Mapping[PolicyRef, ShadowSums]:
        """What came of it, of every definition of a policy that was ever in the shadow."""
        return dict(self._shadows.sums)

    def _build_shadow_updates(self, reward: Reward, decision: Decision | None) -> Updates:
        body, pick = (None, None) if decision is None else (decision.body, decision.pick)
        return updates.build_shadow_updates(self._registry, reward.policy, reward.seq, reward.features, body, pick)

    def _get_user(self, user_id: str) -> _User:
        user = self._users.get(user_id)
        if user is None:
            user = self._users[user_id] = _User(Profile(user_id), 0)
        return user

    def _register_user(self, user_id: str) -> _User:
        user = self._get_user(user_id)
        if not user.number:
            user.number = next(self._numbers)
        return user

    def _iter_known_users(self, prefix: str, after: int) -> Iterator[tuple[str, int]]:
        known = ((user_id, user.number) for user_id, user in self._users.items() if user.number > after)
        return iter(sorted((entry for entry in known if entry[0].startswith(prefix)), key=lambda entry: entry[1]))

    def _add_totals(self, policy: str, more: PolicyTotals) -> None:
        have = self._totals.get(policy, PolicyTotals())
        self._totals[policy] = PolicyTotals(
            have.decisions + more.decisions,
            have.explores + more.explores,
            have.rewards + more.rewards,
            have.reward_sum + more.reward_sum,
        )


def _add_amounts(sums: dict[Any, list[float]], key: tuple[Any, ...], amounts: Iterable[float]) -> None:
    so_far = sums.get(key)
    sums[key] = list(amounts) if so_far is None else list(map(add, so_far, amounts))

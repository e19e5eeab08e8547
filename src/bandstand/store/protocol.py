"""What a store promises: the protocol that every use case is written against."""

from collections.abc import Collection, Mapping
from typing import Protocol

from bandstand.bandit.profile import Profile
from bandstand.errors import WrongPolicyError
from bandstand.store.records import (
    AcceptedReward,
    Decision,
    Erasure,
    PolicyRef,
    PolicyTotals,
    Reward,
    StoreStatus,
    UserPage,
)
from bandstand.store.tables.generations import LoggedGeneration, PromptTotals
from bandstand.store.tables.loop_health import LoopSums
from bandstand.store.tables.promotions import ExperimentStart, Promotion
from bandstand.store.tables.revocations import RevocableReward
from bandstand.store.tables.shadows import Shadow, ShadowSums
from bandstand.store.tables.undo import SelectedRewards, Selection, UndoRecord


class Store(Protocol):
    """Profiles and the events that made them.

    A method that takes an event returns after the event is committed as the store's durability promises, and the
    profile in memory moves only then. Events of one process are committed in the order in which they were handed over.
    """

    secret: bytes
    """Keys the draws of this deployment."""

    def get_cached_profile(self, user_id: str) -> Profile | None:
        """The user's profile if it is in memory now."""

    async def load_profile(self, user_id: str) -> Profile:
        """The user's profile; an empty one for a user never met."""

    def next_seq(self, ts: float) -> int:
        """The number of an event about to be handed over."""

    async def decide(self, decision: Decision) -> Decision:
        """Log a decision and count it.

        Returns:
            The decision that stands under its id: the given one, or, for a caller's own id, the one already there.

        Raises:
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """

    async def reward(self, reward: Reward) -> AcceptedReward:
        """Log a reward and teach it, once for its decision and once for its Idempotency-Key.

        Raises:
            UnknownDecisionError: the decision is gone (erased meanwhile), or another user's.
            WrongPolicyError: another policy made the decision.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """

    async def find_reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with that Idempotency-Key, named by scope and key; nothing is logged.

        Raises:
            IdempotencyMismatchError: what came with it was no such reward.
        """

    async def select_rewards(self, selection: Selection) -> SelectedRewards:
        """The rewards that an operator means, and what of them can be taken back.

        Raises:
            UnknownDecisionError: there is no such decision, or no longer.
        """

    async def has_revocations_since(self, seq: int) -> bool:
        """Whether anything was taken back after the event ``seq``."""

    async def revoke(
        self, reward_seqs: Collection[int], *, cause: str, client: str, selection: Selection | None = None
    ) -> list[RevocableReward]:
        """Take rewards back out of sums and counters, all in one commit; their rows stay, and say what was given.

        Args:
            reward_seqs: event numbers. What the sums do not hold is left out: what never taught, was taken back before,
                was reset or replaced by an import, or is older than the baseline that retention keeps.
            cause: why, in a word.
            client: name of the API key.
            selection: what an operator meant, to be recorded in the same commit, if anything is taken back.

        Returns:
            What was taken back.

        Raises:
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was.
        """

    async def list_undos(self, before: int, limit: int) -> list[UndoRecord]:
        """Records of undos, the newest first, from before the event ``before``."""

    async def find_decision(self, decision_id: str) -> Decision | None:
        """The decision of that id with its reward; ``body`` and ``numbers`` may be absent."""

    async def find_receipt(self, decision_id: str) -> Decision | None:
        """The decision of that id in full, as logged."""

    async def list_history(self, user_id: str, limit: int) -> list[Decision]:
        """The user's newest decisions after the last reset, oldest first."""

    async def log_generation(self, generation: LoggedGeneration) -> bool:
        """Log a generation, unless its user was erased after it began; returns whether it was logged.

        Raises:
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """

    async def reset(self, user_id: str, client: str) -> None:
        """Forget what every policy learned about the user. Idempotent."""

    async def erase(self, user_id: str, client: str) -> Erasure:
        """Delete everything about the user and leave a tombstone. Idempotent."""

    async def list_users(self, prefix: str, after: int, limit: int) -> UserPage:
        """Known users whose id starts with ``prefix``, in order of first sight, from the cursor ``after``."""

    async def count_users(self) -> int:
        """How many users had an event."""

    async def load_policy_totals(self) -> dict[str, PolicyTotals]:
        """Deployment-wide counts by policy."""

    async def load_loop_sums(self, days: int) -> LoopSums:
        """Sums that tell whether the learning loop is sound, by policy, and by day for the newest ``days``."""

    async def load_prompt_totals(self) -> list[PromptTotals]:
        """What each prompt came to, in order of first use."""

    async def log_promotion(self, promotion: Promotion) -> None:
        """Log a change of the active policy, synced."""

    async def list_promotions(self) -> list[Promotion]:
        """Every change of the active policy, the oldest first."""

    async def set_experiment(self, definition: str | None) -> ExperimentStart | None:
        """Say which experiment runs from now on, if any; one of the same definition as the last goes on.

        Returns:
            Its beginning, which an earlier start may have been; ``None`` for no experiment.
        """

    async def count_enrolled(self, experiment: int) -> Mapping[str, int]:
        """How many users each arm has decided for since the experiment began, by event number of its beginning."""

    async def set_shadows(self, policies: Collection[PolicyRef]) -> None:
        """Say which policies are in the shadow from now on: every reward of another policy teaches them too."""

    def log_shadows(self, decision: Decision, shadow_picks: Collection[Shadow]) -> None:
        """Log what policies in the shadow would have done with a decision that was handed over; nobody waits for it.

        Raises:
            OverloadedError, StorageUnavailableError: it is not logged.
        """

    async def load_shadows(self, decision: Decision) -> list[Shadow]:
        """What policies in the shadow would have done with a decision."""

    async def load_shadow_sums(self) -> Mapping[PolicyRef, ShadowSums]:
        """What came of it, of every definition of a policy that was ever in the shadow."""

    def status(self) -> StoreStatus:
        """How the store is doing now."""

    async def open(self) -> None:
        """Take ownership of the state and be ready."""

    async def close(self) -> None:
        """Commit what was accepted, write the checkpoints, let go."""


def require_made_by(decision: Decision, policy: PolicyRef) -> None:
    """Refuse to teach a policy from the features that another one's decision saw.

    Raises:
        WrongPolicyError: another policy made the decision.
    """
    if decision.policy != policy:
        raise WrongPolicyError(f"the decision was made by {decision.policy.name}")

"""What a store promises: the protocol that every use case is written against, in a part for each kind of event.

A second engine implements :class:`Store` in another way and keeps the same laws (``tests/store/checks.py``).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from bandstand.bandit.memory import TaughtReward
from bandstand.bandit.profile import StateKey
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.errors import WrongPolicyError
from bandstand.store.gain_log import GainLog
from bandstand.store.outcomes import Outcome
from bandstand.store.records import (
    AcceptedReward,
    Decision,
    PolicyRef,
    PolicyTotals,
    Reward,
    StoreStatus,
    UnreadReward,
)
from bandstand.store.tables.generations import LoggedGeneration, PromptTotals, TipOrigin
from bandstand.store.tables.loop_health import LoopSums
from bandstand.store.tables.loops import LoopChange
from bandstand.store.tables.memories import MemoryChange
from bandstand.store.tables.promotions import ExperimentStart, Promotion
from bandstand.store.tables.reactions import LoggedReaction
from bandstand.store.tables.revocations import RevocableReward
from bandstand.store.tables.shadows import Shadow, ShadowSums
from bandstand.store.tables.undo import SelectedRewards, Selection, UndoRecord
from bandstand.store.tables.windows import Activation, ClosedWindows, MetricSums
from bandstand.store.turn_protocol import JudgementLog, TurnQueue
from bandstand.store.user_protocol import UserRegister


class MovedError(Exception):
    """A decision was made from a state that another process has changed; memory has caught up: make it again.

    Attributes:
        known: number of the user's newest event then, for the decision that is made again; ``None`` if it is not known.
    """

    def __init__(self, message: str, *, known: int | None = None) -> None:
        super().__init__(message)
        self.known = known


class DecisionLog(Protocol):
    """Decisions, by their ids and by their users."""

    def next_seq(self, ts: float) -> int:
        """The number of an event about to be submitted."""

    def next_seqs(self, ts: float, count: int) -> Sequence[int]:
        """The numbers of as many events, at least one, as :meth:`next_seq` would give them one after the other."""
        return [self.next_seq(ts) for _ in range(count)]

    def decide(self, decision: Decision) -> Awaitable[Decision]:
        """Log a decision and count it: submitted by the call, and committed once what it returns has been awaited.

        The user must be in memory, and no await may lie between :meth:`next_seq` and this call.

        Returns:
            To be awaited: the decision that stands under its id, which is the given one, or, for a caller's own id, the
            one already there.

        Raises:
            MovedError: the state that it was made from does not stand any more; nothing was logged.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """

    async def decide_together(self, decisions: Sequence[Decision]) -> bool:
        """Log decisions of one user, each under an id of the caller's own: all of them in one commit, or none.

        The user must be in memory, and no await may lie between numbering the first and this call.

        Returns:
            Whether they were logged; they are not where one of their ids is taken.

        Raises:
            MovedError: the state that they were made from does not stand any more; nothing was logged.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """

    def get_cached_decision(self, decision_id: str) -> Decision | None:
        """The decision of that id, if it is in memory with all that its reward needs."""

    async def find_decision(self, decision_id: str) -> Decision | None:
        """The decision of that id with its reward; ``body`` and ``numbers`` may be absent."""

    async def find_receipt(self, decision_id: str) -> Decision | None:
        """The decision of that id in full, as logged."""

    async def list_history(self, user_id: str, limit: int) -> list[Decision]:
        """The user's newest decisions after the last reset, oldest first."""


class RewardLog(Protocol):
    """Rewards, once for their decision and once for their Idempotency-Key."""

    def reward(self, reward: Reward, decision: Decision | None = None) -> Awaitable[AcceptedReward]:
        """Log a reward and teach it, once: submitted by the call where its user and decision are in memory.

        Who has found the decision with :meth:`DecisionLog.get_cached_decision`, and awaited nothing since, may give it.

        With settings it is one part of what its decision is taught.

        It is committed once what this returns has been awaited. Rewards whose calls follow each other are committed
        together.

        Raises:
            UnknownDecisionError: the decision is gone (erased meanwhile), or another user's.
            WrongPolicyError: another policy made the decision.
            RewardPendingError: a turn holds the decision.
            IdempotencyMismatchError: the key was spent on a turn.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """

    def reward_unread(self, reward: UnreadReward) -> Awaitable[AcceptedReward | None]:
        """Log a reward and teach it, once, without its decision having been read, where that is quicker.

        Returns:
            The reward, which is new; ``None`` if nothing was logged: why, :meth:`reward` tells.

        Raises:
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """
        del reward  # what a store of one process has decided is at hand
        outcome: Outcome[AcceptedReward | None] = Outcome()
        outcome.settle(None, None)
        return outcome

    async def find_reward_by_key(self, key: tuple[str, str]) -> Reward | None:
        """The reward that came with that Idempotency-Key, named by scope and key; nothing is logged.

        Raises:
            IdempotencyMismatchError: what came with it was no such reward.
        """

    async def activate(
        self, decision_id: str, settings: RewardSettings | None, client: str, *, teaches: bool = True
    ) -> Activation:
        """Let a decision that was held back count as shown, and teach what its parts come to. Idempotent.

        Args:
            decision_id: which.
            settings: how its parts are aggregated; the contract's for ``None``.
            client: name of the API key.
            teaches: whether the loop learns; where not, the reward is kept, and says so.

        Raises:
            UnknownDecisionError: there is no such decision, or no longer.
            OverloadedError, StorageFullError, StorageUnavailableError: it was not.
        """

    async def close_windows(self, limit: int | None = None, *, teaches: bool = True) -> ClosedWindows:
        """Teach what silence comes to, once, for some windows that have ended, in the order of their ends.

        Args:
            limit: how many at most; as many as the engine does best at once, if it is left out.
            teaches: whether the loop learns; what silence comes to is kept where it does not, and says so.

        Raises:
            OverloadedError, StorageFullError, StorageUnavailableError: some of them still await it.
        """

    async def load_metric_sums(self) -> list[MetricSums]:
        """Sums over the metrics of the parts that count, by policy and candidate."""

    async def has_awaiting_windows(self) -> bool:
        """Whether any window is to be closed, now or when it ends."""


class UndoLog(Protocol):
    """Rewards taken back, and the records of who did so."""

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

    async def find_out_of_reach(self, since: float) -> tuple[int, float | None]:
        """How many users have events from ``since`` or later in a baseline, and the time of the newest of those."""

    async def list_reactions(self, after: int, since: float, limit: int) -> list[LoggedReaction]:
        """Reactions that came at ``since`` or later, in order, from after the event ``after``."""

    async def reapply_reactions(self, found: Sequence[LoggedReaction], settings: RewardSettings, client: str) -> bool:
        """Take back the old rewards of reactions, and teach the new ones, in one commit.

        Args:
            found: reactions of one decision, or one in the legacy form.
            settings: with the table.
            client: name of the API key.

        Returns:
            Whether anything was revised; it is not where it had changed, or gone, meanwhile.

        Raises:
            InvalidRequestError: the table says nothing of a reward that was given once.
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was.
        """


class GenerationLog(Protocol):
    """Generations, and what each prompt earned."""

    async def log_generation(self, generation: LoggedGeneration) -> bool:
        """Log a generation, unless its user was erased after it began; returns whether it was logged.

        Raises:
            OverloadedError, StorageFullError, StorageUnavailableError: nothing was logged.
        """

    async def load_prompt_totals(self) -> list[PromptTotals]:
        """What each prompt earned, in order of first use."""

    async def find_origin(self, decision: Decision) -> TipOrigin | None:
        """The generation that the decision's pick came from; ``None`` if it came from none."""


class DeploymentLog(Protocol):
    """What is no single user's: promotions, experiments, policies in the shadow, counts over all users."""

    def subscribe(self, on_change: Callable[[], Awaitable[None]]) -> None:
        """Register a function to call after another process has changed the state that all decisions depend on."""
        del on_change  # of a store of one process: there is no other

    def subscribe_restores(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Register a function to call after the ledger was put back to an earlier moment while it is open."""
        del listener  # of a store of one process: nobody else can

    async def log_promotion(self, promotion: Promotion) -> None:
        """Log a change of the active policy, synced."""

    async def list_promotions(self) -> list[Promotion]:
        """Every change of the active policy, the oldest first."""

    async def set_experiment(self, definition: str | None) -> ExperimentStart | None:
        """Say which experiment runs from now on, if any; one of the same definition as the last continues.

        Returns:
            Its beginning, which an earlier start may have been; ``None`` for no experiment.
        """

    async def count_enrolled(self, experiment: int) -> Mapping[str, int]:
        """How many users each arm has decided for since the experiment began, by event number of its beginning."""

    async def set_shadows(self, policies: Collection[PolicyRef]) -> None:
        """Say which policies are in the shadow from now on: every reward of another policy teaches them too."""

    async def set_memory(self, change: MemoryChange) -> None:
        """Log that a policy's rewards count differently from now on.

        Everybody's rewards are summed again as users are met, as far back as retention's baseline.
        """

    async def list_memory_changes(self) -> list[MemoryChange]:
        """Every change of a policy's memory, the oldest first."""

    async def list_taught_rewards(self, user_id: str, key: StateKey) -> list[TaughtReward]:
        """What a policy was taught of a user since the last reset, the oldest first, but for what was taken back."""

    def log_shadows(self, decision: Decision, shadow_picks: Collection[Shadow]) -> None:
        """Log what policies in the shadow would have done with a decision that was submitted; nobody waits for it.

        Raises:
            OverloadedError, StorageUnavailableError: it is not logged.
        """

    async def load_shadows(self, decision: Decision) -> list[Shadow]:
        """What policies in the shadow would have done with a decision."""

    async def load_shadow_sums(self) -> Mapping[PolicyRef, ShadowSums]:
        """The result of it, of every definition of a policy that was ever in the shadow."""

    async def load_policy_totals(self) -> dict[str, PolicyTotals]:
        """Deployment-wide counts by policy."""

    async def load_loop_sums(self, days: int) -> LoopSums:
        """Sums about the health of the learning loop, by policy, and by day for the newest ``days``."""


class LoopLog(Protocol):
    """The other loops, which are in the default loop's log; and erasures that cover all loops."""

    async def log_loop_change(self, change: LoopChange, *, after: int | None = None) -> LoopChange:
        """Log that a loop was made, changed or deleted, synced.

        Args:
            change: not numbered yet.
            after: event number of the newest change that it rests on, 0 for none; ``None`` for whatever there is.

        Returns:
            It, numbered.

        Raises:
            MovedError: another process has logged one since; nothing was logged.
        """

    async def announce_change(self) -> None:
        """Make every process load the loop's present definition before it decides in the loop again."""
        return  # of a store of one process: there is no other

    async def list_loop_changes(self) -> list[LoopChange]:
        """Every change of a loop, the oldest first."""

    async def note_erasure(self, user_id: str, client: str) -> None:
        """Log, synced, that a user is being erased in every loop, so that it is continued after a crash."""

    async def list_erasure_notes(self) -> list[tuple[str, str]]:
        """The users who are being erased, each with the name of the API key that asked for it."""

    async def delete_erasure_note(self, user_id: str) -> bool:
        """Forget that; returns whether the log has forgotten it too, as :class:`Erasure` has it."""


class Store(
    UserRegister,
    DecisionLog,
    RewardLog,
    UndoLog,
    GenerationLog,
    DeploymentLog,
    LoopLog,
    GainLog,
    TurnQueue,
    JudgementLog,
    Protocol,
):
    """Profiles and the events that made them.

    A method that takes an event returns after the event is committed as the store's durability promises, and the
    profile in memory moves only then. Events of one process are committed in the order in which they were submitted.
    """

    secret: bytes
    """Keys the draws of this deployment."""

    async def open(self) -> None:
        """Take ownership of the state and be ready."""

    async def close(self) -> None:
        """Commit what was accepted, write the checkpoints, and close the store."""

    def status(self) -> StoreStatus:
        """How the store is doing now."""


def require_made_by(decision: Decision, policy: PolicyRef) -> None:
    """Refuse to teach a policy from the features that another one's decision saw.

    Raises:
        WrongPolicyError: another policy made the decision.
    """
    if decision.policy is not policy and decision.policy != policy:  # to compare them takes longer
        raise WrongPolicyError(f"the decision was made by {decision.policy.name}")

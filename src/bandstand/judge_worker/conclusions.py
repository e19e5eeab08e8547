"""Conclusions: verdicts pass the gate, are committed once each, and are passed on to the population."""

import asyncio
from collections import Counter
from dataclasses import replace
from functools import partial
from weakref import WeakValueDictionary

from bandstand.errors import BandstandError
from bandstand.judge.gate import Gate
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.verdict import Judged, Unscored
from bandstand.judge_worker.rest import retry_while_resting
from bandstand.judge_worker.update_rate_limit import UpdateRateLimit
from bandstand.learning.population import PopulationPriorRefresher
from bandstand.store.protocol import Store
from bandstand.store.records import Reward
from bandstand.store.tables.judgements import Cause, Conclusion, JudgedTurn, TurnOutcome
from bandstand.store.tables.revocations import RevocableReward
from bandstand.store.turn_protocol import AllowUpdate


class Conclusions:
    """Concludes judgements, of one event loop.

    Args:
        store: where they are committed.
        gate: what it makes of verdicts.
        update_limit: how much one user's turns may teach.
        population: is notified of what they teach.

    Attributes:
        gate: as above; a new one is for verdicts from then on.
        teaches: whether anything that is concluded teaches; where not, it is withheld as ``logging_only``.
        counts: judgements that the judge concluded since the start, by (policy, state, reason).
    """

    def __init__(
        self, store: Store, gate: Gate, update_limit: UpdateRateLimit, population: PopulationPriorRefresher
    ) -> None:
        self.gate = gate
        self.teaches = True
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self._store = store
        self._update_limit = update_limit
        self._population = population
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    def get_lock(self, seq: int) -> asyncio.Lock:
        """The lock that is held while a judgement is concluded."""
        lock = self._locks.get(seq)
        if lock is None:
            lock = self._locks[seq] = asyncio.Lock()
        return lock

    def build_conclusion(self, judged: Judged, taxonomy: Taxonomy, *, cause: Cause, client: str) -> Conclusion:
        """What the gate makes of a verdict."""
        applied = self.gate.apply(judged, taxonomy)
        conclusion = Conclusion(
            cause=cause, client=client, verdict=judged.as_json(), applied=applied.as_json(), reason=applied.withheld
        )
        if isinstance(judged, Unscored):
            return replace(conclusion, state="unscored", reason=judged.reason.value, applied=None)
        return replace(conclusion, teach=applied.reward) if applied.should_update else conclusion

    async def apply_conclusion(
        self, judgement: JudgedTurn, conclusion: Conclusion, *, capped: bool = True
    ) -> TurnOutcome | None:
        """Commit what is made of a judgement, and let the population know; its lock is held.

        Args:
            judgement: as it stands in the ledger.
            conclusion: what is made of it.
            capped: whether the limit on a user's updates counts.

        Raises:
            BandstandError: as :meth:`bandstand.store.protocol.Store.apply_conclusion`.
        """
        if not self.teaches and conclusion.teach is not None:
            conclusion = replace(conclusion, teach=None, state="withheld", reason="logging_only")
        may_teach: AllowUpdate = lambda _: True  # noqa: E731 (the other one needs its user)
        if capped:
            await self._update_limit.load_user(judgement.user_id)
            may_teach = partial(self._update_limit.allow_update, judgement.user_id)
        outcome = await self._store.apply_conclusion(judgement, conclusion, allow_update=may_teach)
        if outcome is None:
            return None
        for revoked in outcome.revoked:  # the population takes in the sums as they are now
            self._population.apply_reward(_to_reward(revoked))
        if outcome.reward is not None:
            self._population.apply_reward(outcome.reward)
        return outcome

    async def commit(self, judgement: JudgedTurn, conclusion: Conclusion) -> None:
        """Commit the judge's own conclusion, however long the ledger takes: it may have been paid for.

        What the decision does not take any more is withheld, with the code of the error as its reason.
        """
        async with self.get_lock(judgement.seq):
            try:
                outcome = await self._retry_apply(judgement, conclusion)
            except BandstandError as error:
                withheld = replace(conclusion, teach=None, state="withheld", reason=error.code)
                outcome = await self._retry_apply(judgement, withheld)
        if outcome is not None:
            after = outcome.judgement
            self.counts[after.policy.name, after.state, after.reason or ""] += 1

    async def _retry_apply(self, judgement: JudgedTurn, conclusion: Conclusion) -> TurnOutcome | None:
        return await retry_while_resting(partial(self.apply_conclusion, judgement, conclusion), "a verdict")


def _to_reward(revoked: RevocableReward) -> Reward:
    """What was taken back as an event of its user; the population reads neither its tip nor who gave it."""
    return Reward(
        user_id=revoked.user_id,
        policy=revoked.policy,
        tip_id="",
        value=revoked.value,
        client="",
        ts=revoked.ts,
        body_hash=b"",
        x=revoked.x,
        seq=revoked.seq,
        shadow_updates=revoked.shadow_updates,
    )

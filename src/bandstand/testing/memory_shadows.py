"""What policies in the shadow would have done, as the memory store keeps it."""

from collections.abc import Collection, Mapping

from bandstand.store.records import Decision, PolicyRef
from bandstand.store.tables.shadows import Shadow, ShadowSums
from bandstand.testing.memory_events import MemoryEvents


class MemoryShadowLog:
    """The part of the memory store that is about shadows."""

    _events: MemoryEvents

    def log_shadows(self, decision: Decision, shadow_picks: Collection[Shadow]) -> None:
        """Log what policies in the shadow would have done."""
        if self._events.decisions.get(decision.decision_id) is decision:
            stands = (
                decision.reward is not None
                and (decision.reward.part is None or decision.reward.part.taught is not None)
                and decision.reward.seq not in self._events.users[decision.user_id].revoked
            )
            self._events.sums.shadows.add(
                decision.seq, shadow_picks, decision.reward.value if decision.reward and stands else None
            )

    async def load_shadows(self, decision: Decision) -> list[Shadow]:
        """What policies in the shadow would have done with a decision."""
        return self._events.sums.shadows.get_shadows(decision.seq)

    async def load_shadow_sums(self) -> Mapping[PolicyRef, ShadowSums]:
        """The result of it, of every definition of a policy that was ever in the shadow."""
        return dict(self._events.sums.shadows.sums)

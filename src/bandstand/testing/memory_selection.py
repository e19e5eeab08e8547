"""Which rewards of a memory store an operator means."""

from collections import Counter

from bandstand.errors import UnknownDecisionError
from bandstand.store.records import Reward
from bandstand.store.tables.undo import SelectedRewards, Selection
from bandstand.store.tables.windows import NOT_FIRST
from bandstand.testing.memory_events import MemoryEvents, MemoryUser
from bandstand.testing.memory_turns import MemoryTurns


def select_rewards(events: MemoryEvents, turns: MemoryTurns, selection: Selection) -> SelectedRewards:
    """Return the rewards that are meant, and what of them can be taken back.

    Raises:
        UnknownDecisionError: the decision that is meant is not there.
    """
    if selection.decision_id is not None and selection.decision_id not in events.decisions:
        raise UnknownDecisionError("no such decision")
    meant = [
        (user, reward)
        for user in events.users.values()
        for reward in user.rewards
        if (selection.decision_id is None or reward.decision_id == selection.decision_id)
        and (selection.client is None or selection.client in _list_clients(user, reward))
        and (selection.judge_version is None or turns.is_judged_by(reward, selection.judge_version))
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


def _list_clients(user: MemoryUser, reward: Reward) -> set[str]:
    """The clients that gave a reward, or parts of it."""
    parts = [
        each.client
        for each in user.parts
        if each.decision_id == reward.decision_id and each.seq <= reward.seq and each.reason in {None, NOT_FIRST}
    ]
    return {reward.client, *parts}

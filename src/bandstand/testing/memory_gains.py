"""What decisions earned beside random and the caller's first candidate, added up anew at each question."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from bandstand.store.tables.gains import GainDay, GainSums, compute_terms
from bandstand.store.tables.loop_health import to_day
from bandstand.testing.memory_events import MemoryUser


def compute_gain_sums(users: Iterable[MemoryUser], seq: int) -> GainSums:
    """The sums over every decision whose reward stands, as of the event ``seq``."""
    days = defaultdict[tuple[int, str], list[float]](list)
    for user in users:
        for decision in user.decisions:
            reward, numbers = decision.reward, decision.numbers
            if reward is None or numbers is None or reward.seq in user.revoked:
                continue
            terms = compute_terms(
                numbers[:1], np.array([decision.pick]), np.array([decision.propensity]), np.array([reward.value])
            )[0].tolist()
            key = (to_day(decision.ts), decision.policy.name)
            days[key] = [so_far + term for so_far, term in zip(days[key] or [0.0] * len(terms), terms, strict=True)]
    return GainSums([GainDay(*key, int(rewarded), *sums) for key, (rewarded, *sums) in sorted(days.items())], seq)

"""One decision, from what is known of a user to the pick: the step that serving and simulating share."""

from typing import NamedTuple

from bandstand.bandit.arrays import FloatArray
from bandstand.bandit.distribution import Distribution, extract_second_uniform
from bandstand.bandit.policies import Policy
from bandstand.bandit.profile import Profile
from bandstand.bandit.ridge import Posterior, Prior


class Choice(NamedTuple):
    """What a policy did with K candidates.

    Attributes:
        distribution: the policy's answer for them.
        pick: index of the candidate that was drawn.
        exploring: whether the uniform branch drew it.
    """

    distribution: Distribution
    pick: int
    exploring: bool


def choose(
    policy: Policy,
    profile: Profile,
    x: FloatArray,
    seed: float,
    *,
    prior: Prior | None = None,
    now: float | None = None,
) -> Choice:
    """Ask the policy under what the profile holds, and draw once; the profile does not move.

    Args:
        policy: who decides.
        profile: what the user has taught.
        x: the candidates as the policy's schema encodes them, shape (K, d).
        seed: the decision's own draw, in [0, 1).
        prior: what was believed of the user before; the policy's own where it is not given.
        now: seconds since the epoch, for a policy that forgets.
    """
    state = profile.policies.get((policy.name, policy.schema.name))
    before = prior or policy.prior
    posterior = Posterior(before.mean, before.covariance) if state is None else state.get_posterior(before, now)
    distribution = policy.distribution(posterior, x, extract_second_uniform(seed))
    pick, exploring = distribution.draw(seed)
    return Choice(distribution, pick, exploring)

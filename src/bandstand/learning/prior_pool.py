"""A pool: what is known of one policy's users, and the prior learned from them."""

from collections.abc import Mapping
from typing import Any

from bandstand.bandit.policies import Policy
from bandstand.bandit.population import PopulationPrior
from bandstand.bandit.profile import Profile, StateKey
from bandstand.bandit.reservoir import Reservoir, compute_capacity
from bandstand.bandit.ridge import RidgeState

_MAX_LINEAGE = 100


class PriorPool:
    """A reservoir of users' sums, the prior learned from it, and where that came from.

    Attributes:
        generation: how often the prior was learned; 0 for never.
        learned_from: the users it was learned from; some may have left the reservoir since.
        learned_seq: the newest event that the prior knows.
        seq: the newest event that the reservoir knows.
        new_rewards: rewards of users in the reservoir since the last refresh.
        needed: how many of them make a refresh due, of which prior; ``None`` if nobody has asked.
        is_reset: a user was reset since, and the prior is to forget them at once.
        lineage: what is kept of earlier generations, the newest last.
        on_disk: users whom the file names.
        changed: the reservoir holds what the file does not say.
    """

    def __init__(self, policy: Policy, secret: bytes) -> None:
        self.policy = policy
        self.capacity = compute_capacity(policy.sums_width)
        self.reservoir = Reservoir(self.capacity, secret)
        self.prior = PopulationPrior.from_base(policy.prior)
        self.generation = 0
        self.learned_from: frozenset[str] = frozenset()
        self.learned_seq = 0
        self.seq = 0
        self.new_rewards = 0
        self.needed: tuple[PopulationPrior, int] | None = None
        self.is_reset = False
        self.learned_at: str | None = None
        self.checksum: str | None = None
        self.lineage: list[dict[str, Any]] = []
        self.on_disk: frozenset[str] = frozenset()
        self.changed = False
        self._key: StateKey = (policy.name, policy.schema.name)

    def update_reservoir(self, profile: Profile) -> bool:
        """Take in a user's newest sums; returns whether they are in the reservoir. Who has none left is released."""
        state = profile.policies.get(self._key)
        if state is None or state.ridge is None:
            self.reservoir.remove(profile.user_id)
            return False
        return self.reservoir.add(profile.user_id, state.ridge)

    def start_refresh(self) -> Mapping[str, RidgeState]:
        """Return whom the next prior is learned from; rewards count from here on for the one after it."""
        self.new_rewards, self.is_reset = 0, False
        return self.reservoir.members()

    def replace_prior(self, prior: PopulationPrior, members: frozenset[str], seq: int, learned_at: str) -> None:
        """Believe a prior that was learned from ``members``, whose sums knew the events up to ``seq``."""
        if self.generation:
            self.lineage = [*self.lineage, self.build_entry()][-_MAX_LINEAGE:]
        self.prior, self.learned_from, self.learned_seq, self.learned_at = prior, members, seq, learned_at
        self.generation += 1
        self.changed = True

    def build_entry(self) -> dict[str, Any]:
        """Describe this generation of the prior in a few numbers, for lineages and summaries."""
        return {
            "generation": self.generation,
            "checksum": self.checksum,
            "seq": self.learned_seq,
            "learned_at": self.learned_at,
            "users": self.prior.users,
            "rewards": self.prior.rewards,
        }

    def build_header(self) -> dict[str, Any]:
        """Return what the prior's file says besides its numbers and its users."""
        return {
            "schema": self.policy.schema.name,
            "schema_hash": self.policy.schema.hash,
            "generation": self.generation,
            "parent": self.lineage[-1]["checksum"] if self.lineage else None,
            "seq": self.learned_seq,
            "learned_at": self.learned_at,
            "lineage": self.lineage,
        }

    def load_document(self, document: Mapping[str, Any]) -> list[str]:
        """Believe the prior that a file holds, if it is for the same features; returns who was in the reservoir.

        Raises:
            ValueError, KeyError, TypeError: the file does not hold what one should.
        """
        members, former = ([str(user_id) for user_id in document[key]] for key in ("members", "former"))
        if document["schema_hash"] == self.policy.schema.hash:
            self.prior, self.generation, self.seq, self.learned_at, self.checksum, self.lineage = (
                PopulationPrior.from_json(document),
                int(document["generation"]),
                int(document["seq"]),
                document["learned_at"],
                document["checksum"],
                list(document["lineage"]),
            )
            self.learned_seq = self.seq
        self.on_disk = frozenset([*members, *former])
        if self.generation:
            self.learned_from = self.on_disk
        return members

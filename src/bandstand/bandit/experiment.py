"""A traffic split: which of several policies un-named requests of a user mean, by a stable keyed hash of the user."""

import hashlib
import json
import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

from bandstand.definition import NAME_PATTERN, is_name

_BITS = 64
_KEY_BYTES = 64
_MIN_ARMS = 2


@dataclass(frozen=True, slots=True)
class Arm:
    """One policy of a split, and its share of the users: its weight over the sum of all weights."""

    policy: str
    weight: float


@dataclass(frozen=True, slots=True)
class Experiment:
    """A split of the users between policies.

    A user's number is a keyed hash of the experiment's name, the names of its arms and the user, so it depends on
    nothing that the user does, is independent of every other experiment's, and stays the same under other weights:
    raising an arm's share moves only as many users as that takes.

    Attributes:
        name: distinguishes experiments with the same arms; may be empty.
        arms: at least two policies, all different.
    """

    name: str
    arms: tuple[Arm, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``policy:weight,policy:weight…``, with ``name=`` before it where a name is wanted.

        Raises:
            ValueError: says what is wrong.

        >>> Experiment.parse("linucb-v2:90,first-v1:10").compute_shares()
        {'linucb-v2': 0.9, 'first-v1': 0.1}
        """
        name, _, listed = text.rpartition("=")
        name = name.strip()
        if "=" in text and not is_name(name):
            raise ValueError(f"its name does not match {NAME_PATTERN}")
        arms = [_parse_arm(entry.strip(), number) for number, entry in enumerate(listed.split(","), start=1)]
        if len(arms) < _MIN_ARMS:
            raise ValueError("it splits between fewer than two policies")
        return cls(name, tuple(arms)).validate()

    def validate(self) -> Self:
        """Return this experiment.

        Raises:
            ValueError: it names a policy twice.
        """
        for number, arm in enumerate(self.arms):
            if any(arm.policy == other.policy for other in self.arms[:number]):
                raise ValueError(f"it names {arm.policy!r} twice")
        return self

    @property
    def leading_policy(self) -> str:
        """The policy of the largest weight, the first of equals."""
        return max(self.arms, key=lambda arm: arm.weight).policy

    def compute_shares(self) -> dict[str, float]:
        """Each policy's share of the users; they sum to 1."""
        total = math.fsum(arm.weight for arm in self.arms)
        return {arm.policy: arm.weight / total for arm in self.arms}

    def to_canonical_json(self) -> str:
        """The experiment as canonical JSON: two of the same definition are one experiment."""
        arms = [[arm.policy, arm.weight] for arm in self.arms]
        return json.dumps({"name": self.name, "arms": arms}, separators=(",", ":"))


class Split:
    """An experiment under one deployment's secret: it assigns users.

    Args:
        experiment: the arms and their weights.
        secret: keys the hash, so that nobody can choose an id for an arm.
    """

    def __init__(self, experiment: Experiment, secret: bytes) -> None:
        self.experiment = experiment
        salt = json.dumps([experiment.name, [arm.policy for arm in experiment.arms]]).encode()
        self._key = hashlib.blake2b(salt, key=secret[:_KEY_BYTES], digest_size=32, person=b"experiment").digest()
        shares = experiment.compute_shares()
        self._policies = tuple(shares)
        self._ends = [round(end * 2**_BITS) for end in accumulate(shares.values())][:-1]

    def assign_policy(self, user_id: str) -> str:
        """The user's policy: the same for ever, under the same secret, name, arms and weights."""
        digest = hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), key=self._key, digest_size=8).digest()
        return self._policies[bisect_right(self._ends, int.from_bytes(digest))]


def _parse_arm(entry: str, number: int) -> Arm:
    policy, colon, weight = (part.strip() for part in entry.rpartition(":"))
    if not colon or not policy:
        raise ValueError(f"entry {number} is not policy:weight")
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise ValueError(f"entry {number}: its weight is not a number above 0")
    return Arm(policy, value)

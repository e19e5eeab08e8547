"""A holdout: a share of the users, always the same ones, whom a control serves, to compare with."""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal, Self

_BITS = 64
_KEY_BYTES = 64

Control = Literal["random", "first"]
CONTROL_POLICIES: dict[Control, str] = {"random": "uniform-v1", "first": "first-v1"}
"""The policy that serves each control: both ship."""


@dataclass(frozen=True, slots=True)
class Holdout:
    """How many users are kept from the bandit, and what they get.

    Attributes:
        share: of the users, in (0, 1).
        control: ``random`` or ``first``.
    """

    share: float
    control: Control

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_canonical_json`` wrote."""
        return cls(**json.loads(text))

    @property
    def policy(self) -> str:
        """The name of the policy that serves the control."""
        return CONTROL_POLICIES[self.control]

    def to_canonical_json(self) -> str:
        """The holdout as canonical JSON: two of the same are one holdout, which continues."""
        return json.dumps({"share": self.share, "control": self.control}, separators=(",", ":"))


class HoldoutSplit:
    """A holdout under one deployment's secret.

    A user's number is a keyed hash of the user alone: a larger share keeps whom a smaller one had.

    Args:
        holdout: the share and the control.
        secret: keys the hash, so that nobody can choose an id that is held out.
    """

    def __init__(self, holdout: Holdout, secret: bytes) -> None:
        self.holdout = holdout
        self._key = secret[:_KEY_BYTES]
        self._end: int = round(holdout.share * (1 << _BITS))

    def is_control(self, user_id: str) -> bool:
        """Whether the user is held out: the same for ever, under the same secret and share."""
        name = user_id.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(name, key=self._key, digest_size=8, person=b"holdout").digest()
        return int.from_bytes(digest) < self._end

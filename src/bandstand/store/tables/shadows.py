"""Shadows: what other policies would have done with a decision, and the sums of what that would have earned."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from bandstand.store.records import Array, PolicyRef
from bandstand.store.sqlite.statements import number_fields
from bandstand.store.tables.event_rows import INSERT_ONE_MARK, MarkInsert

_OF_DECISION = (
    "SELECT policy, pick, exploring, agrees, propensity, weight, probabilities FROM shadows WHERE decision = ?"
)
_SUMS = "SELECT policy, decisions, agreed, rewarded, r, rr, w, ww, wr, wwr, wrr, wwrr FROM shadow_sums"


class ShadowInsert(NamedTuple):
    """A row of ``shadows``, whose reward is looked up when it is there."""

    decision: int
    policy: int
    pick: int
    exploring: bool
    agrees: bool
    propensity: float
    weight: float
    probabilities: bytes


INSERT_SHADOW = number_fields(
    """INSERT INTO shadows (decision, policy, pick, exploring, agrees, propensity, weight, probabilities)
    SELECT :decision, :policy, :pick, :exploring, :agrees, :propensity, :weight, :probabilities
    WHERE EXISTS (SELECT 1 FROM decisions WHERE seq = :decision)""",
    ShadowInsert,
)
"""A decision that was refused, or erased meanwhile, has no shadow."""


@dataclass(frozen=True, slots=True, eq=False)
class Shadow:
    """What a policy in the shadow would have done with a decision of another.

    Attributes:
        pick: index of the candidate that the decision's own seed draws from its distribution.
        exploring: its uniform branch drew that.
        agrees: that is what was served.
        propensity: its probability of its own pick.
        weight: w, its probability of the served pick over the one that pick was drawn with.
        probabilities: of every candidate, shape (K,).
    """

    policy: PolicyRef
    pick: int
    exploring: bool
    agrees: bool
    propensity: float
    weight: float
    probabilities: Array

    def build_row(self, decision_seq: int, policy_id: int) -> ShadowInsert:
        """The shadow of a decision as a row."""
        return ShadowInsert(
            decision_seq,
            policy_id,
            self.pick,
            self.exploring,
            self.agrees,
            self.propensity,
            self.weight,
            self.probabilities.tobytes(),
        )


class ShadowSums(NamedTuple):
    """Sums over the decisions that a policy in the shadow looked at; those of w and r over what has a reward."""

    decisions: int = 0
    agreed: int = 0
    rewarded: int = 0
    r: float = 0.0
    rr: float = 0.0
    w: float = 0.0
    ww: float = 0.0
    wr: float = 0.0
    wwr: float = 0.0
    wrr: float = 0.0
    wwrr: float = 0.0

    def with_decision(self, shadow: Shadow) -> Self:
        """The sums with one more decision."""
        return self._replace(decisions=self.decisions + 1, agreed=self.agreed + shadow.agrees)

    def with_reward(self, r: float, w: float, sign: int) -> Self:
        """The sums with one more reward, or with one less."""
        amounts = (r, r * r, w, w * w, w * r, w * w * r, w * r * r, w * w * r * r)
        sums = (so_far + sign * more for so_far, more in zip(self[3:], amounts, strict=True))
        return type(self)(self.decisions, self.agreed, self.rewarded + sign, *sums)


def log_shadow_policies(connection: sqlite3.Connection, *, seq: int, ts: float, policy_ids: Sequence[int]) -> None:
    """Write down which policies are in the shadow from now on."""
    connection.execute(INSERT_ONE_MARK, MarkInsert(seq, None, "shadow", ts, "settings", json.dumps(policy_ids)))


def load_shadows(connection: sqlite3.Connection, refs: Mapping[int, PolicyRef], seq: int) -> list[Shadow]:
    """The shadows of a decision."""
    return [
        Shadow(refs[policy], pick, bool(exploring), bool(agrees), propensity, weight, np.frombuffer(raw))
        for policy, pick, exploring, agrees, propensity, weight, raw in connection.execute(_OF_DECISION, (seq,))
    ]


def has_shadow_sums(connection: sqlite3.Connection) -> bool:
    """Whether a policy in the shadow ever looked at a decision."""
    return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM shadow_sums)").fetchone()[0])


def load_shadow_sums(connection: sqlite3.Connection, refs: Mapping[int, PolicyRef]) -> dict[PolicyRef, ShadowSums]:
    """The sums of every definition of a policy that was ever in the shadow."""
    return {refs[policy]: ShadowSums(*values) for policy, *values in connection.execute(_SUMS)}

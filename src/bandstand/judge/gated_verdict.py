"""A judgement: a verdict, or the reason for having none, and what it teaches."""

from typing import Any, NamedTuple

from bandstand.judge.gate import GateResult
from bandstand.judge.verdict import Judged, Target, Unscored, Verdict


class GatedVerdict(NamedTuple):
    """What was judged, and what the gate made of it.

    Attributes:
        judged: the verdict, or the reason for having none.
        applied: what it teaches.
    """

    judged: Judged
    applied: GateResult

    @property
    def label(self) -> str | None:
        """The label; None if there is no verdict."""
        return self.judged.label if isinstance(self.judged, Verdict) else None

    @property
    def confidence(self) -> float:
        """How sure, in [0, 1], after calibration; 0 if there is no verdict."""
        return self.applied.confidence

    @property
    def rationale(self) -> str:
        """One line for people; empty if there is no verdict."""
        return self.judged.rationale if isinstance(self.judged, Verdict) else ""

    @property
    def reward(self) -> float:
        """What it teaches, in [−1, 1]; 0 where it teaches nothing."""
        return self.applied.reward

    @property
    def should_update(self) -> bool:
        """Whether it teaches."""
        return self.applied.should_update

    @property
    def unscored(self) -> str | None:
        """Why there is no verdict; None if there is one."""
        return self.judged.reason.value if isinstance(self.judged, Unscored) else None

    @property
    def target(self) -> Target | None:
        """What the message speaks of; None if the tier does not say, or there is no verdict."""
        return self.judged.target if isinstance(self.judged, Verdict) else None

    def as_json(self) -> dict[str, Any]:
        """Return what a caller receives: never the raw reply."""
        judged, applied = self.judged, self.applied
        return {
            "label": self.label,
            "confidence": self.confidence,
            "rationale": self.rationale,
            "reward": self.reward,
            "should_update": self.should_update,
            "unscored": self.unscored,
            "target": self.target,
            "withheld": applied.withheld,
            "taxonomy": judged.taxonomy,
            "tier": judged.tier,
            "model": judged.model,
            "prompt": judged.prompt_hash,
            "gate": applied.mode,
            "tau": applied.tau,
            "calibration": applied.calibration,
        }

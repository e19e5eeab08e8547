"""The gate: what a verdict teaches, decided when it teaches, and recorded beside the verdict."""

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from bandstand.errors import ConfigurationError
from bandstand.judge.calibration import Calibration, Calibrations
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.verdict import Judged, Verdict

GateMode = Literal["hard", "soft"]
WithheldReason = Literal["", "unscored", "below_tau", "never_updates", "off_target"]

TAU: Final = 0.6
GATE_REASONS: Final[frozenset[WithheldReason]] = frozenset({"below_tau", "never_updates", "off_target"})
"""Why a gate withholds a verdict; another gate, or another map, may not."""

_UNSCORED: Final[WithheldReason] = "unscored"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What a verdict taught, and by which map, threshold and calibration.

    Attributes:
        reward: in [−1, 1]; 0 if nothing is taught.
        should_update: whether the bandit learns from it.
        withheld: why it does not; empty where it does.
        confidence: the verdict's after calibration; 0 if there is no verdict.
        mode: "hard" or "soft".
        tau: the threshold in force.
        taxonomy: the taxonomy's name.
        taxonomy_hash: the map's hash.
        calibration: the calibration's name with its hash, if there was one.
    """

    reward: float
    should_update: bool
    withheld: WithheldReason
    confidence: float
    mode: GateMode
    tau: float
    taxonomy: str
    taxonomy_hash: str
    calibration: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Gate:
    """A deployment's gate: what it makes of any judge's verdicts.

    Attributes:
        tau: the threshold, where a calibration has not picked one.
        mode: "hard" or "soft".
        calibrations: each for the verdicts of one judge.
    """

    tau: float = TAU
    mode: GateMode = "hard"
    calibrations: Calibrations = field(default_factory=Calibrations)

    def apply(self, judged: Judged, taxonomy: Taxonomy) -> GateResult:
        """Turn a verdict into what it teaches, as :func:`apply`, by the calibration that was fitted to its judge.

        A calibration's own τ replaces the gate's: it was picked for the target precision.
        """
        calibration = self.calibrations.find(judged)
        tau = self.tau if calibration is None or calibration.tau is None else calibration.tau
        return applied(judged, taxonomy, tau=tau, mode=self.mode, calibration=calibration)


def applied(
    judged: Judged,
    taxonomy: Taxonomy,
    *,
    tau: float = TAU,
    mode: GateMode = "hard",
    calibration: Calibration | None = None,
) -> GateResult:
    """Turn a verdict into what it teaches.

    hard: the label's reward where confidence ≥ τ and the label updates, else nothing: contract A5.
    soft: Σ p(label) · reward(label), whatever the confidence, so that no turn is selected away; a label that never
    updates still teaches nothing where it is the verdict. A verdict without probabilities gives its label the
    confidence; the remaining probability counts as reward 0. both: where the turn says what was chosen, a verdict that
    speaks of a target which the taxonomy leaves out teaches nothing.

    Args:
        judged: a verdict, or the reason for having none.
        taxonomy: the map from label to reward, the one the verdict was given under.
        tau: the threshold of the hard gate.
        mode: "hard" or "soft".
        calibration: fitted to this judge's verdicts, if there is one.

    Raises:
        ConfigurationError: the verdict was given under another taxonomy.
    """
    if judged.taxonomy != taxonomy.name:
        raise ConfigurationError(f"a verdict under {judged.taxonomy} cannot be applied by {taxonomy.name}")
    confidence, reward, withheld = 0.0, 0.0, _UNSCORED
    if isinstance(judged, Verdict):
        confidence = calibration(judged.confidence) if calibration else judged.confidence
        reward = (
            taxonomy.label(judged.label).reward
            if mode == "hard"
            else _compute_expected_reward(judged, taxonomy, confidence)
        )
        withheld = _get_withheld_reason(judged, taxonomy, confidence, tau, mode)
    return GateResult(
        reward=0.0 if withheld else reward,
        should_update=not withheld,
        withheld=withheld,
        confidence=confidence,
        mode=mode,
        tau=tau,
        taxonomy=taxonomy.name,
        taxonomy_hash=taxonomy.hash,
        calibration=calibration.name if calibration else None,
    )


def _get_withheld_reason(
    verdict: Verdict, taxonomy: Taxonomy, confidence: float, tau: float, mode: GateMode
) -> WithheldReason:
    if not taxonomy.label(verdict.label).updates:
        return "never_updates"
    if verdict.about and verdict.target is not None and verdict.target not in taxonomy.taught_targets:
        return "off_target"
    if mode == "hard" and confidence < tau:
        return "below_tau"
    return ""


def _compute_expected_reward(verdict: Verdict, taxonomy: Taxonomy, confidence: float) -> float:
    """Σ p · reward, with the verdict's own label at the calibrated confidence and the others scaled to the rest."""
    stated = dict(verdict.probabilities)
    others = sum(p for name, p in stated.items() if name != verdict.label)
    scale = (1 - confidence) / others if others > 0 else 0.0
    rest = sum(p * taxonomy.label(name).reward for name, p in stated.items() if name != verdict.label)
    return confidence * taxonomy.label(verdict.label).reward + scale * rest

"""Evaluation requests: which policies over which range, as a plan of ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import uuid4

from bandstand.bandit.policies import Policy
from bandstand.personalizer.configuration import format_date
from bandstand.personalizer.errors import PersonalizerError
from bandstand.personalizer.policy_arguments import MAX_NAME, PolicyArguments
from bandstand.personalizer.settings import describe_policy
from bandstand.times import parse_bound

EvaluationKind = Literal["Manual", "Auto"]

NOTE: Final = "personalizer"
"""Under which a plan notes what was asked."""
ACTIVE, BASELINE, RANDOM = "active", "baseline", "random"
MAX_POLICIES: Final = 10

_INVALID: Final = "InvalidEvaluationContract"
_EXPERIMENTS: Final = (
    "--cb_explore_adf --epsilon 0.05",
    "--cb_explore_adf --epsilon 0.2",
    "--cb_explore_adf --squarecb --gamma_scale 10",
    "--cb_explore_adf --squarecb --gamma_scale 100",
    "--cb_explore_adf --squarecb --gamma_scale 1000",
)
"""What offline experimentation tries."""
_EXPERIMENT_FLAGS: Final = ("enableOfflineExperimentation", "enablePolicyOptimization")
"""How each version asks for it."""


@dataclass(frozen=True, slots=True)
class EvaluationCall:
    """A request, validated.

    Attributes:
        id: the caller's own, or a new one.
        start: the beginning of the range, seconds since the epoch.
        end: its end.
        custom: policies that the caller wants to know of.
        experiments: policies that are tried because the caller wants to know what else there is.
        kind: whether a caller requested it, or the loop itself.
    """

    id: str
    name: str
    start: float
    end: float
    custom: Sequence[PolicyArguments]
    experiments: Sequence[PolicyArguments]
    kind: EvaluationKind = "Manual"

    @classmethod
    def parse(cls, body: Mapping[str, Any], own_id: str | None) -> "EvaluationCall":
        """Read a body.

        Raises:
            PersonalizerError: it says something that cannot be.
        """
        name = body.get("name")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            raise _refuse(f"name: must be text of 1 to {MAX_NAME} characters")
        start, end = parse_range(body)
        asked = body.get("policies")
        if asked is not None and not (isinstance(asked, list) and all(isinstance(each, dict) for each in asked)):
            raise _refuse("policies: must be a list of objects")
        custom = [PolicyArguments.parse_body(each) for each in asked or ()]
        if len(custom) > MAX_POLICIES:
            raise _refuse(f"policies: must be at most {MAX_POLICIES}")
        if len({each.name for each in custom}) < len(custom):
            raise PersonalizerError(400, "DuplicateCustomPolicyNames", "policies: names must differ from each other")
        experiments = build_experiments() if any(_read_flag(body, key) for key in _EXPERIMENT_FLAGS) else []
        return cls(own_id or str(uuid4()), name, start, end, custom, experiments)

    @classmethod
    def build_auto(cls, start: float, end: float) -> "EvaluationCall":
        """What a loop that optimizes itself asks for."""
        name = f"Auto optimization {format_date(end)}"
        return cls(str(uuid4()), name, start, end, [], build_experiments(), "Auto")

    def to_plan(self, policy: Policy, missing_reward: float, window_s: float) -> dict[str, Any]:
        """The document of our plan, see :class:`bandstand.evaluate.plan.EvaluationPlan`.

        Args:
            policy: the active policy, from which the others are derived.
            missing_reward: the reward assumed for a decision without one.
            window_s: length of the windows of time of which summaries are wanted, in seconds.
        """
        schema = policy.schema.name
        definitions: dict[str, Any] = {
            ACTIVE: describe_policy(policy),
            BASELINE: {"kind": "first", "schema": schema},
            RANDOM: {"kind": "uniform", "schema": schema},
        }
        for prefix, policies in (("custom", self.custom), ("hyper", self.experiments)):
            definitions |= {f"{prefix}-{n}": _define(each, policy) for n, each in enumerate(policies)}
        asked = {
            "id": self.id,
            "name": self.name,
            "kind": self.kind,
            "custom": [{"name": each.name, "arguments": each.text} for each in self.custom],
            "experiments": [{"name": each.name, "arguments": each.text} for each in self.experiments],
        }
        return {
            "policies": list(definitions),
            "estimators": ["ips"],
            "since": format_date(self.start),
            "until": format_date(self.end),
            "missing_reward": missing_reward,
            "definitions": definitions,
            "window_s": window_s,
            "importance_of": ACTIVE,
            "note": {NOTE: asked},
        }


def build_experiments() -> list[PolicyArguments]:
    """The policies of offline experimentation."""
    return [PolicyArguments.parse(f"Hyper{number}", text) for number, text in enumerate(_EXPERIMENTS, 1)]


def _define(asked: PolicyArguments, policy: Policy) -> dict[str, Any]:
    """A requested policy, with the active one's schema and beliefs."""
    shared = ("schema", "prior", "variance", "noise", "half_life")
    table = {name: value for name, value in describe_policy(policy).items() if name in shared}
    changes = {"epsilon": asked.epsilon, "gamma": asked.gamma}
    return {**table, "kind": asked.kind, **{name: value for name, value in changes.items() if value is not None}}


def parse_range(body: Mapping[str, Any]) -> tuple[float, float]:
    """``startTime`` and ``endTime``, seconds since the epoch.

    Raises:
        PersonalizerError: one is no time, or they are the wrong way round.
    """
    start, end = (parse_moment(body.get(key), key) for key in ("startTime", "endTime"))
    if end <= start:
        raise _refuse("endTime: must be after startTime")
    return start, end


def parse_moment(value: object, name: str) -> float:
    """A date and a time, as seconds since the epoch.

    Raises:
        PersonalizerError: it is no valid time.
    """
    try:
        return parse_bound(value, needs_zone=False)
    except ValueError:
        raise _refuse(f"{name}: must be a date and a time") from None


def _read_flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return value is True
    raise _refuse(f"{name}: must be true or false")


def _refuse(message: str) -> PersonalizerError:
    return PersonalizerError(400, _INVALID, message)

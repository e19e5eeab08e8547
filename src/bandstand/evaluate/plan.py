"""The request for an evaluation, as it waits in a service."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.policies import KINDS, Policy
from bandstand.errors import FieldError, InvalidRequestError
from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.formulas import Formula
from bandstand.evaluate.spec import EvaluationSpec

_RARE = frozenset({"definitions", "note", "window_s", "importance_of"})
DEFAULT_ESTIMATORS = ("ips", "snips", "dr")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """Which policies, over which part of the log, by which estimators.

    Attributes:
        policies: names of configured policies, none of them an alias.
        estimators: as :meth:`Formula.parse` reads them.
        since: decisions from here on are evaluated, and earlier ones only teach; ISO 8601, or None for all.
        until: nothing after this is read; ISO 8601, or None for all.
        missing_reward: what a decision without a reward is worth; None leaves such decisions out.
        interval: how intervals are made.
        frozen: whether the policies stay as they were at ``since``.
        definitions: policies that are made for this evaluation alone, by name, as a configuration file has them.
        note: a note by which the caller finds it again.
        window_s: length of the windows of time that sums are wanted of; None for none.
        importance_of: the policy of which it is wanted what each feature adds; None for none.
    """

    policies: tuple[str, ...]
    estimators: tuple[str, ...] = DEFAULT_ESTIMATORS
    since: str | None = None
    until: str | None = None
    missing_reward: float | None = None
    interval: Literal["normal", "bootstrap"] = "normal"
    frozen: bool = False
    definitions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict)
    window_s: float | None = None
    importance_of: str | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any], catalogue: Catalogue) -> "EvaluationPlan":
        """Read a request whose fields have the right types.

        Raises:
            UnknownPolicyError: a policy is not configured.
            InvalidRequestError: there is no such estimator, or its parameter is wrong.
        """
        made = document.get("definitions", {})
        names = dict.fromkeys(
            name if name in made else catalogue.get_policy(name).name for name in document["policies"]
        )
        estimators = dict.fromkeys(document.get("estimators", DEFAULT_ESTIMATORS))
        for text in estimators:
            try:
                Formula.parse(text)
            except EvaluationError as error:
                raise InvalidRequestError(error.detail, [FieldError("estimators", error.detail)]) from None
        return cls(**{**document, "policies": tuple(names), "estimators": tuple(estimators)})

    @classmethod
    def from_json(cls, text: str) -> "EvaluationPlan":
        """Read what ``to_json`` wrote."""
        document = json.loads(text)
        lists = {name: tuple(document[name]) for name in ("policies", "estimators")}
        return cls(**{**document, **lists})

    def to_json(self) -> str:
        """The plan as JSON, without what few have."""
        document = asdict(self)
        return json.dumps({key: value for key, value in document.items() if value or key not in _RARE})

    def build_policies(self, catalogue: Catalogue) -> list[Policy]:
        """The policies, configured ones and those of its own.

        Raises:
            UnknownPolicyError: one is not configured.
            ConfigurationError: one of its own is wrong.
        """
        return [
            catalogue.get_policy(name) if definition is None else _build_policy(name, definition, catalogue)
            for name, definition in ((name, self.definitions.get(name)) for name in self.policies)
        ]

    def build_spec(self) -> EvaluationSpec:
        """The estimates to make, each once."""
        formulas = {formula.label: formula for formula in map(Formula.parse, self.estimators)}
        return EvaluationSpec(
            tuple(formulas.values()),
            missing_reward=self.missing_reward,
            interval=self.interval,
            window_s=self.window_s,
        )


def _build_policy(name: str, definition: Mapping[str, Any], catalogue: Catalogue) -> Policy:
    parameters = {key: value for key, value in definition.items() if key not in {"kind", "schema"}}
    return KINDS[definition["kind"]](name, catalogue.schemas[definition["schema"]], parameters)

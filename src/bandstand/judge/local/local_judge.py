"""The local tier: rules and text model as one judge that needs no key, no network and no waiting."""

from typing import Final, NamedTuple, Self

import numpy as np

from bandstand.judge.arbiter import IntentCandidate, RuleSignal
from bandstand.judge.local.classifier import Classifier, Floats, Weights, build_verdict
from bandstand.judge.local.normalise import normalise_turn
from bandstand.judge.local.rulebook import load_shipped_rules
from bandstand.judge.local.rules import RuleMatch, Rules, format_match
from bandstand.judge.taxonomy import Taxonomy, shipped_taxonomy
from bandstand.judge.turn import CutTurn
from bandstand.judge.verdict import Verdict

_MAX_RULE_SCORE: Final = 0.98
"""No rule is believed beyond this, however few its measured mistakes."""


class Evidence(NamedTuple):
    """What rules and text model each say of a turn, as the arbiter compares them.

    Attributes:
        rule: the rule that counts, by its label; None where none fires.
        semantic: every label with the text model's probability, best first.
        verdict: what the two make of it together.
    """

    rule: RuleSignal | None
    semantic: tuple[IntentCandidate, ...]
    verdict: Verdict


class Local:
    """Rules and text model together; itself the tier "local".

    A product of experts: p(l) ∝ p_model(l) · p_rule(l), where the rule that counts gives its label its score s and
    every other label (1 − s)/(L − 1). Where no rule fires the model speaks alone (Hinton 2002, for the form).

    Args:
        rules: the rules.
        classifier: the text model, for the same taxonomy.

    Raises:
        ValueError: the two have different taxonomies.
    """

    name: Final = "local"

    def __init__(self, rules: Rules, classifier: Classifier) -> None:
        if rules.taxonomy != classifier.taxonomy:
            raise ValueError("rules and classifier must share a taxonomy")
        self.taxonomy = rules.taxonomy
        self.model = f"{rules.model}+{classifier.model}"
        self._rules = rules
        self._classifier = classifier

    @classmethod
    def shipped(cls, taxonomy: Taxonomy | None = None, weights: Weights | None = None) -> Self:
        """Join the shipped rules with the shipped text model, or with weights of a team's own.

        Args:
            taxonomy: ``followup-v1`` if left out.
            weights: in place of the shipped ones; a deployment's own taxonomy has none shipped.
        """
        taxonomy = taxonomy or shipped_taxonomy("followup-v1")
        classifier = Classifier(weights, taxonomy) if weights else Classifier.shipped(taxonomy.name)
        return cls(load_shipped_rules(taxonomy), classifier)

    @property
    def rules(self) -> Rules:
        """The rules alone, a tier of their own."""
        return self._rules

    def verdict(self, turn: CutTurn) -> Verdict:
        """Return the polarity with the most mass and its likeliest label, with that label's probability."""
        reading = normalise_turn(turn)
        return self._combine_parts(self._rules.find_best(reading), self._classifier.predict_probabilities(reading))

    def evidence(self, turn: CutTurn) -> Evidence:
        """Return the verdict together with what each part says, for the arbiter."""
        reading = normalise_turn(turn)
        match = self._rules.find_best(reading)
        stated = self._classifier.predict_probabilities(reading)
        order = np.argsort(-stated, kind="stable")
        labels = self.taxonomy.labels
        return Evidence(
            rule=RuleSignal(match.label, match.score) if match else None,
            semantic=tuple(
                IntentCandidate(labels[i].name, labels[i].name, labels[i].means, float(stated[i]))
                for i in order.tolist()
            ),
            verdict=self._combine_parts(match, stated),
        )

    async def judge(self, turn: CutTurn) -> Verdict:
        """Return :meth:`verdict`, as every tier does."""
        return self.verdict(turn)

    def _combine_parts(self, match: RuleMatch | None, stated: Floats) -> Verdict:
        if match is None:
            return build_verdict(stated, self.taxonomy, tier=self.name, model=self.model, rationale="by its wording")
        score = min(match.score, _MAX_RULE_SCORE)
        expert = np.full(len(stated), (1 - score) / (len(stated) - 1))
        expert[self.taxonomy.label_names.index(match.label)] = score
        joined = stated * expert
        return build_verdict(
            joined / joined.sum(),
            self.taxonomy,
            tier=self.name,
            model=self.model,
            rationale=f"{format_match(match)}, and by its wording",
            rule=match.rule_id,
        )

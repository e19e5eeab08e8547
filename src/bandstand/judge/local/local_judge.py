"""The local tier: rules and text model as one judge that needs no key, no network and no waiting."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bandstand.judge.arbiter import IntentCandidate, RuleSignal
from bandstand.judge.local.classifier import Classifier, Floats, Weights, build_verdict, sum_rows
from bandstand.judge.local.feedback import FeedbackModel, Hearing
from bandstand.judge.local.lexicon import (
    SIDES,
    contradicts_stand,
    find_side,
    supports_stand,
)
from bandstand.judge.local.ngrams import SIDE, Buckets, extract_buckets
from bandstand.judge.local.normalise import NormalisedTurn, normalise_turn
from bandstand.judge.local.ratings import is_known_sign
from bandstand.judge.local.rulebook import load_shipped_rules
from bandstand.judge.local.rules import RuleMatch, Rules, format_match, get_stated_target
from bandstand.judge.local.signal import has_signal, report_no_signal
from bandstand.judge.local.target import find_target
from bandstand.judge.local.topic_shift import compute_shift_probability, may_shift
from bandstand.judge.taxonomy import POLARITIES, Polarity, Taxonomy, shipped_taxonomy
from bandstand.judge.turn import CutTurn
from bandstand.judge.verdict import Judged, Verdict

_MAX_RULE_SCORE: Final = 0.98
"""No rule is believed beyond this, however few its measured mistakes."""


_OVERTAKEN_RANK: Final = 2
_MAX_DOUBTED: Final = 0.25
_MAX_UNSUPPORTED: Final = 0.5
_SURE: Final = 0.8
_VERY_SURE: Final = 0.85
_CLEARLY_HEARD: Final = 0.8
_HEARD: Final = 1 / 3
_TINY: Final = 1e-9
_OPPOSITES: Final[Mapping[Polarity, Polarity]] = {"negative": "positive", "positive": "negative"}
_SHIFT_THRESHOLD: Final = 0.5
_HALF: Final = 0.5
_SHIFT_LABELS: Final[Mapping[str, str]] = {"followup-v1": "topic_shift"}


class Evidence(NamedTuple):
    """What rules and text model each say of a turn, as the arbiter compares them.

    Attributes:
        rule: the rule that counts, by its label; None if none fires.
        semantic: every label with the text model's probability, best first.
        verdict: what the two make of it together.
    """

    rule: RuleSignal | None
    semantic: tuple[IntentCandidate, ...]
    verdict: Verdict


class _Reading(NamedTuple):
    """What a turn's words come to.

    Attributes:
        buckets: they.
        stated: the text model's probability of every label.
        sums: of the feedback model's weights over each family of buckets; None where it is not asked.
    """

    buckets: Buckets
    stated: Floats
    sums: NDArray[np.int64] | None


class Local:
    """Rules and text model together; itself the tier "local".

    A product of experts: p(l) ∝ p_model(l) · p_rule(l), where the rule that counts gives its label its score s and
    every other label (1 − s)/(L − 1). If no rule fires, the model decides alone (Hinton 2002, for the form), except for
    a topic shift, which the form of a message shows better than its words (:mod:`bandstand.judge.local.topic_shift`).

    Where the turn says what was chosen, the question is whether that was welcome: the likeliest label of a stand then
    has the mass of all labels of that stand, since whether "shorter, please" repeats or corrects is beside the point.

    Args:
        rules: the rules.
        classifier: the text model, for the same taxonomy.
        feedback: of turns that say what was chosen, how far to believe the two; signs and words decide if left out.

    Raises:
        ValueError: the two have different taxonomies.
    """

    name: Final = "local"

    def __init__(self, rules: Rules, classifier: Classifier, feedback: FeedbackModel | None = None) -> None:
        if rules.taxonomy != classifier.taxonomy:
            raise ValueError("rules and classifier must share a taxonomy")
        self.taxonomy = rules.taxonomy
        self._rules = rules
        self._classifier = classifier
        self._feedback = feedback
        self._joined = np.hstack((classifier.table[SIDE:], feedback.text_table)) if feedback else None
        self._polarities = {label.name: label.polarity for label in self.taxonomy.labels}
        self._quiet = np.array([label.polarity == "other" for label in self.taxonomy.labels])
        self._sides = {
            polarity: np.array([label.polarity == polarity for label in self.taxonomy.labels])
            for polarity in POLARITIES
        }
        stands = [self._sides[stand] for stand in _OPPOSITES]
        self._stand_places = [is_of_stand.nonzero()[0].tolist() for is_of_stand in stands if is_of_stand.any()]
        self._places = {name: place for place, name in enumerate(self.taxonomy.label_names)}
        label = _SHIFT_LABELS.get(self.taxonomy.name)
        self._shift = self.taxonomy.label_names.index(label) if label else None

    @classmethod
    def shipped(cls, taxonomy: Taxonomy | None = None, weights: Weights | None = None) -> Self:
        """Join the shipped rules with the shipped text model, or with weights of a team's own.

        Args:
            taxonomy: ``followup-v1`` if left out.
            weights: in place of the shipped ones; a deployment's own taxonomy has none shipped.
        """
        taxonomy = taxonomy or shipped_taxonomy("followup-v1")
        classifier = Classifier(weights, taxonomy) if weights else Classifier.shipped(taxonomy.name)
        return cls(load_shipped_rules(taxonomy), classifier, FeedbackModel.shipped(taxonomy))

    @property
    def model(self) -> str:
        """Under which its verdicts are known."""
        feedback = f"+{self._feedback.hash[:8]}" if self._feedback else ""
        return f"{self._rules.model}+{self._classifier.model}{feedback}"

    @property
    def rules(self) -> Rules:
        """The rules alone, as a tier."""
        return self._rules

    def verdict(self, turn: CutTurn) -> Verdict:
        """Return the polarity with the most mass and its likeliest label, with that label's probability."""
        normalised = normalise_turn(turn)
        reading = self._read(normalised)
        return self._combine_parts(normalised, self._rules.matches(normalised), reading)

    def evidence(self, turn: CutTurn) -> Evidence:
        """Return the verdict together with what each part says, for the arbiter."""
        normalised = normalise_turn(turn)
        matches = self._rules.matches(normalised)
        reading = self._read(normalised)
        stated = reading.stated
        order = np.argsort(-stated, kind="stable")
        labels = self.taxonomy.labels
        return Evidence(
            rule=RuleSignal(matches[0].label, matches[0].score) if matches else None,
            semantic=tuple(
                IntentCandidate(labels[i].name, labels[i].name, labels[i].means, float(stated[i]))
                for i in order.tolist()
            ),
            verdict=self._combine_parts(normalised, matches, reading),
        )

    async def judge(self, turn: CutTurn) -> Judged:
        """Return :meth:`verdict`, as every tier does; no verdict where the message says nothing."""
        if not has_signal(turn):
            return report_no_signal(taxonomy=self.taxonomy.name, tier=self.name, model=self.model)
        return self.verdict(turn)

    def _read(self, normalised: NormalisedTurn) -> _Reading:
        """Ask the text model; the rows that it and the feedback model look up are read at once."""
        buckets = extract_buckets(normalised)
        if self._joined is None or not normalised.about:
            return _Reading(buckets, self._classifier.predict_probabilities(normalised, buckets), None)
        sums = sum_rows(self._joined, buckets.ids - SIDE, buckets)
        labels = len(self.taxonomy.labels)
        stated = self._classifier.predict_probabilities(normalised, buckets, sums[:, :labels])
        return _Reading(buckets, stated, sums[:, labels:])

    def _combine_parts(self, normalised: NormalisedTurn, matches: Sequence[RuleMatch], reading: _Reading) -> Verdict:
        stated = reading.stated
        joined, match, rationale = self._join_rules(normalised, matches, stated)
        is_heard = False
        if self._feedback and reading.sums is not None and not _speaks_for_itself(normalised):
            masses = self._compute_masses(stated)
            heard = self._feedback.predict(Hearing(normalised, matches, masses), reading.buckets, reading.sums)
            joined, is_heard = self._follow_feedback(joined, heard, normalised, matches)
        return build_verdict(
            joined,
            self.taxonomy,
            tier=self.name,
            model=self.model,
            rationale=rationale,
            normalised=normalised,
            rule=match.rule_id if match else None,
            target="behaviour" if is_heard else None,
            stated=get_stated_target(matches),
        )

    def _compute_masses(self, stated: Floats) -> tuple[float, ...]:
        """Return the mass of each polarity; a dozen numbers are summed sooner without NumPy."""
        masses: dict[Polarity, float] = dict.fromkeys(POLARITIES, 0.0)
        for label, p in zip(self.taxonomy.labels, stated.tolist(), strict=True):
            masses[label.polarity] += p
        return tuple(masses.values())

    def _join_rules(
        self, normalised: NormalisedTurn, matches: Sequence[RuleMatch], stated: Floats
    ) -> tuple[Floats, RuleMatch | None, str]:
        """Return what rules and text model make of a turn together, the rule that counts, and why."""
        match = matches[0] if matches else None
        joined, rationale, is_overtaken = stated, "by its wording", False
        if match is not None and match.settles:
            return self._build_expert(match._replace(score=_MAX_RULE_SCORE)), match, format_match(match)
        if match is not None and self._is_overtaken(normalised, match):
            joined, match, is_overtaken = self._cap_stand_before_but(stated, match), None, True
        elif match is not None:
            joined = self._yield_to_decisive(stated, normalised, match) * self._build_expert(match)
            opposed = self._find_opposed(match, matches)
            if opposed is not None:
                joined = joined * self._build_expert(opposed)
            joined = joined / np.add.reduce(joined)
            rationale = f"{format_match(match)}, and by its wording"
        elif self._shift is not None and may_shift(normalised) and joined[self._quiet].sum() > _HALF:
            shift = compute_shift_probability(normalised)
            if shift >= _SHIFT_THRESHOLD:
                joined, rationale = self._move_to_shift(joined, shift), "by its form, a topic of its own"
        if normalised.about:
            joined = self._pool_stands(joined)
            if normalised.rating is None:
                joined = self._weigh_wording(joined, normalised, match)
        elif match is None and normalised.rating is None and not is_overtaken:
            joined = self._cap_contradicted_stand(joined, normalised)
        return joined, match, rationale

    def _build_expert(self, match: RuleMatch) -> Floats:
        """Return what a rule says of every label."""
        score = min(match.score, _MAX_RULE_SCORE)
        expert = np.full(len(self.taxonomy.labels), (1 - score) / (len(self.taxonomy.labels) - 1))
        expert[self._places[match.label]] = score
        return expert

    def _is_overtaken(self, normalised: NormalisedTurn, match: RuleMatch) -> bool:
        """Return whether a stand is followed by a "but" and words that no rule knows, and that ask for nothing."""
        decisive = normalised.scope.decisive
        takes_stand = self._polarities[match.label] != "other"
        return match.rank == _OVERTAKEN_RANK and takes_stand and bool(decisive) and "?" not in decisive

    def _yield_to_decisive(self, stated: Floats, normalised: NormalisedTurn, match: RuleMatch) -> Floats:
        """Take from the opposite stand what a "but" takes back, where the rule that counts stands behind it."""
        opposite = _OPPOSITES.get(self._polarities[match.label])
        if opposite is None or match.rank != 1 or not normalised.scope.decisive:
            return stated
        return self._cap_stand(stated, opposite)

    def _cap_stand_before_but(self, stated: Floats, match: RuleMatch) -> Floats:
        """Reduce the stand before a "but": what follows most likely takes it back."""
        return self._cap_stand(stated, self._polarities[match.label])

    def _cap_stand(self, stated: Floats, polarity: Polarity) -> Floats:
        """Give a stand at most a quarter of the mass."""
        same = self._sides[polarity]
        mass = float(stated[same].sum())
        if mass <= _MAX_DOUBTED:
            return stated
        return np.where(same, stated * _MAX_DOUBTED / mass, stated * (1 - _MAX_DOUBTED) / max(1 - mass, _TINY))

    def _find_opposed(self, match: RuleMatch, matches: Sequence[RuleMatch]) -> RuleMatch | None:
        """Return the first rule of the same rank that takes the opposite stand; both then have their say."""
        opposite = _OPPOSITES.get(self._polarities[match.label])
        return next(
            (other for other in matches if other.rank == match.rank and self._polarities[other.label] == opposite),
            None,
        )

    def _pool_stands(self, stated: Floats) -> Floats:
        """Give the likeliest label of each stand the mass of all its labels."""
        numbers = stated.tolist()
        for places in self._stand_places:
            best, mass = max(places, key=numbers.__getitem__), 0.0
            for place in places:
                mass += numbers[place]
                numbers[place] = 0.0
            numbers[best] = mass
        return np.array(numbers)

    def _weigh_wording(self, stated: Floats, normalised: NormalisedTurn, match: RuleMatch | None) -> Floats:
        """Give a stand that only the text model supports at most half, unless the lexicon supports it too.

        What was pooled from several labels is surer than it should be, and text model and lexicon err about different
        messages: so both must hear the stand before it teaches, or the model very surely where the lexicon hears none.
        A stand that the rule that counts speaks against teaches in no case.
        """
        place = int(stated.argmax())
        polarity = self.taxonomy.labels[place].polarity
        if polarity == "other" or stated[place] <= _MAX_UNSUPPORTED:
            return stated
        if match is not None:
            is_borne_out = self._polarities[match.label] == polarity
        else:
            _, side = find_side(normalised.judged_tokens, normalised.scope.decisive)
            needed = {SIDES[polarity]: _SURE, None: _VERY_SURE}.get(side, 1.0)
            is_borne_out = stated[place] >= needed
        if is_borne_out:
            return stated
        return _doubt(stated, place)

    def _follow_feedback(
        self, stated: Floats, heard: Mapping[Polarity, float], normalised: NormalisedTurn, matches: Sequence[RuleMatch]
    ) -> tuple[Floats, bool]:
        """Believe a stand on the behaviour as far as it is heard as feedback, and say whether that alone decides.

        One that is heard clearly is a verdict by itself. One that rules and text model took must be heard above chance;
        else it keeps at most half. A stand on something else stays what it is.
        """
        stand: Polarity = max(_OPPOSITES, key=heard.__getitem__)
        if heard[stand] >= _CLEARLY_HEARD:
            return self._give_stand(stated, stand, heard[stand]), True
        place = int(stated.argmax())
        polarity = self.taxonomy.labels[place].polarity
        is_borne_out = polarity == stand and heard[stand] >= _HEARD
        if polarity == "other" or stated[place] <= _MAX_UNSUPPORTED or is_borne_out:
            return stated, False
        if find_target(normalised, polarity, get_stated_target(matches)) != "behaviour":
            return stated, False
        return _doubt(stated, place), False

    def _give_stand(self, stated: Floats, stand: Polarity, mass: float) -> Floats:
        """Give the likeliest label of a stand this mass, and all others the rest in proportion."""
        places = self._sides[stand].nonzero()[0]
        place = places[stated[places].argmax()]
        others = np.maximum(stated, _TINY)
        others[place] = 0.0
        given = others * ((1 - mass) / others.sum())
        given[place] = mass
        return np.asarray(given)

    def _cap_contradicted_stand(self, stated: Floats, normalised: NormalisedTurn) -> Floats:
        """Reduce a stand that only the text model supports, if the lexicon's words contradict it."""
        words, side = find_side(normalised.judged_tokens, normalised.scope.decisive)
        polarity = self.taxonomy.labels[int(stated.argmax())].polarity
        if polarity == "other":
            return stated
        is_taken_back = (
            polarity == "positive" and normalised.scope.decisive and not supports_stand(words, is_praise=True)
        )
        if is_taken_back or contradicts_stand(words, side, SIDES[polarity]):
            return self._cap_stand(stated, polarity)
        return stated

    def _move_to_shift(self, stated: Floats, shift: float) -> Floats:
        """Give the label for a new topic this share of the mass of all labels that take no stand."""
        mass = stated[self._quiet].sum()
        others = self._quiet.copy()
        others[self._shift] = False
        moved = stated.copy()
        moved[others] *= (1 - shift) * mass / stated[others].sum()
        moved[self._shift] = shift * mass
        return np.asarray(moved / moved.sum())


def _speaks_for_itself(normalised: NormalisedTurn) -> bool:
    """Return whether a message is a rating or nothing but emoji of known meaning, or says nothing of the answer."""
    return normalised.rating is not None or normalised.is_aside or all(map(is_known_sign, normalised.tokens))


def _doubt(stated: Floats, place: int) -> Floats:
    """Leave a label at most half of the mass, and give the others the rest in proportion."""
    doubted = stated * (1 - _MAX_UNSUPPORTED) / (1 - stated[place])
    doubted[place] = _MAX_UNSUPPORTED
    return np.asarray(doubted)

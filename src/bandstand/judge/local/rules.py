"""Question-aware rules: literal phrases that say how an answer was taken, in several languages at once.

Nothing here is a pattern. Phrases are looked up word by word in one tree, so the time is linear in the message however
many rules there are, and no message can make a rule slow.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import ClassVar, Final, Literal, NamedTuple

from bandstand.definition import hash_definition
from bandstand.judge.local.lexicon import is_negated
from bandstand.judge.local.normalise import REPETITION_THRESHOLD, NormalisedTurn, normalise_turn
from bandstand.judge.local.ratings import PRAISE_FROM
from bandstand.judge.local.signal import has_signal, report_no_signal
from bandstand.judge.local.target import find_target
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.turn import CutTurn
from bandstand.judge.verdict import Judged, Target, Unscored, Verdict

RulePosition = Literal["anywhere", "start", "whole"]
AnswerKind = Literal["any", "question", "statement"]
AboutKind = Literal["any", "given", "absent"]
Phrase = tuple[str, ...]

_SILENT: Final = frozenset("?")
_HASH_DIGITS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Literal phrases and what they mean where they stand.

    Attributes:
        rule_id: unique among all rules.
        label: what it says, of the taxonomy that the rules were read for.
        score: the probability that the label is right when the rule fires; measured, for the shipped rules.
        phrases: the literals, each as its words.
        unless: literals that silence the rule wherever they stand.
        where: "anywhere"; "start": nothing but fillers before it; "whole": nothing but fillers around it.
        after: "question" or "statement": how the answer must have closed; or "any".
        outranks: whether it counts before any rule that does not.
        about: "given" or "absent": whether the turn must say what was chosen; or "any".
        unless_aside: whether it is silent where something was quoted, past or supposed: "what does that mean" asks
            about that then.
        target: what it says that the message speaks of, if it does.
        praise: in the place of ``label`` where what was chosen has one of the words of ``pole``: "keep it short".
        pole: those words.
        fillers: words that say nothing, such as "oh".
    """

    rule_id: str
    label: str
    score: float
    phrases: tuple[Phrase, ...]
    unless: tuple[Phrase, ...] = ()
    where: RulePosition = "anywhere"
    after: AnswerKind = "any"
    outranks: bool = False
    about: AboutKind = "any"
    unless_aside: bool = False
    target: Target | None = None
    praise: str | None = None
    pole: frozenset[str] = frozenset()
    fillers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RatingRule:
    """The rule for ratings, such as "1/5": those below the middle complain as surely as those above it praise.

    Attributes:
        praise: what a good one says.
        complaint: what a bad one says.
        score: the probability that it is right when it fires.
    """

    praise: str
    complaint: str
    score: float

    rule_id: ClassVar[str] = "any.rating"


@dataclass(frozen=True, slots=True)
class RepetitionRule:
    """The one rule without phrases: the user asks the same question again.

    Attributes:
        label: what it says.
        score: the probability that it is right when it fires.
    """

    label: str
    score: float

    rule_id: ClassVar[str] = "any.repeats-question"


class RuleMatch(NamedTuple):
    """A rule that fired.

    Attributes:
        rule_id: which.
        label: what it says.
        score: how often it is right when it fires.
        phrase: the words that made it fire; a literal of the rule's own.
        target: what it says that the message speaks of, if it does.
        rank: 0 for a rule that outranks, 1 for one that stands where no "but" takes it back, 2 for any other.
        settles: whether it outranks and is all that the message says, so that no other part is asked.
    """

    rule_id: str
    label: str
    score: float
    phrase: str
    target: Target | None = None
    rank: int = 1
    settles: bool = False


class _Hit(NamedTuple):
    start: int
    end: int
    rule: Rule
    fires: bool


class _TrieNode:
    """A word in the tree of phrases: which may follow, and which rules' phrases end here (False: to silence)."""

    __slots__ = ("ends", "following")

    def __init__(self) -> None:
        self.following: dict[str, _TrieNode] = {}
        self.ends: list[tuple[Rule, bool]] = []


class Rules:
    """All rules of a taxonomy; itself the tier "rules".

    Only what is in scope is looked at. Where phrases overlap, the longest counts: "i was wrong" is no "wrong". Then a
    rule that outranks comes first (users who correct themselves are believed), what stands after the last "but" counts
    before what stands ahead of it, a complaint outweighs praise, and the higher score wins.

    Args:
        rules: the rules.
        taxonomy: whose labels they give.
        repetition: what a repeated question means, if anything.
        rating: what ratings mean, if anything.
        unmatched: the probability that a turn is neutral where no rule fires.
    """

    name: Final = "rules"

    def __init__(
        self,
        rules: Iterable[Rule],
        taxonomy: Taxonomy,
        *,
        repetition: RepetitionRule | None = None,
        rating: RatingRule | None = None,
        unmatched: float = 0.5,
    ) -> None:
        self.rules = tuple(rules)
        self.taxonomy = taxonomy
        self._repetition = repetition
        self._rating = rating
        self._unmatched = unmatched
        self._neutral = taxonomy.neutral.name
        self._root = _TrieNode()
        for rule in self.rules:
            for phrase in rule.phrases:
                self._insert(phrase, rule, fires=True)
            for phrase in rule.unless:
                self._insert(phrase, rule, fires=False)
        # Lower goes first: ranks are worked out once, since only the length of a phrase depends on the message.
        self._rank = {
            rule.rule_id: (not rule.outranks, taxonomy.label(rule.label).polarity != "negative", -rule.score)
            for rule in self.rules
        }
        self._takes_stand = {
            rule.rule_id: rule.outranks or taxonomy.label(rule.label).polarity != "other" for rule in self.rules
        }
        if repetition:
            self._rank[repetition.rule_id] = (True, False, -repetition.score)

    @cached_property
    def model(self) -> str:
        """Under which its verdicts are known, by a hash of all rules, which takes a while and few processes need."""
        return f"rules@{self._hash()}"

    def matches(self, normalised: NormalisedTurn) -> list[RuleMatch]:
        """Return every rule that fires, the one that counts first; none twice."""
        tokens = normalised.scope.tokens
        hits = list(self._find_hits(tokens))
        if not hits:
            return list(self._match_computed(normalised))
        silenced = {hit.rule.rule_id for hit in hits if not hit.fires}
        spoken = _filter_hits([hit for hit in hits if hit.fires and hit.rule.rule_id not in silenced], normalised)
        scope = normalised.scope
        taken_back = range(scope.contrasted_from, len(tokens) - len(scope.decisive)) if scope.decisive else range(0)
        ranked = sorted(
            ((self._rank_hit(hit, taken_back), hit) for hit in spoken),
            key=lambda pair: (pair[0], self._rank[pair[1].rule.rule_id], pair[1].start - pair[1].end),
        )
        found: dict[str, RuleMatch] = {}
        for match in (*self._match_computed(normalised), *(_to_match(hit, normalised, rank) for rank, hit in ranked)):
            found.setdefault(match.rule_id, match)
        return list(found.values())

    def _rank_hit(self, hit: _Hit, taken_back: range) -> int:
        if hit.rule.outranks:
            return 0
        return 1 if hit.start not in taken_back and self._takes_stand[hit.rule.rule_id] else 2

    def _match_computed(self, normalised: NormalisedTurn) -> Iterator[RuleMatch]:
        """Match the two rules without phrases, which say more than any phrase."""
        again, rating = self._repetition, self._rating
        if again and normalised.similarity >= REPETITION_THRESHOLD:
            yield RuleMatch(again.rule_id, again.label, again.score, "the question again")
        if rating and normalised.rating is not None:
            good, bad = normalised.rating >= PRAISE_FROM, normalised.rating <= -PRAISE_FROM
            label = rating.praise if good else rating.complaint if bad else self._neutral
            yield RuleMatch(rating.rule_id, label, rating.score, "a rating")

    def find_best(self, normalised: NormalisedTurn) -> RuleMatch | None:
        """Return the rule that counts, None if none fires."""
        matches = self.matches(normalised)
        return matches[0] if matches else None

    def verdict(self, turn: CutTurn) -> Verdict:
        """Return what the rules alone say: neutral where none fires, at the share of such turns that was measured."""
        normalised = normalise_turn(turn)
        matches = self.matches(normalised)
        match = matches[0] if matches else None
        label = match.label if match else self._neutral
        return Verdict(
            taxonomy=self.taxonomy.name,
            label=label,
            confidence=match.score if match else self._unmatched,
            rationale=format_match(match) if match else "no rule fired",
            tier=self.name,
            model=self.model,
            rule=match.rule_id if match else None,
            target=find_target(normalised, self.taxonomy.label(label).polarity, get_stated_target(matches)),
            about=bool(normalised.about),
        )

    async def judge(self, turn: CutTurn) -> Judged:
        """Return :meth:`verdict`, as every tier does; no verdict where the message says nothing."""
        return self.verdict(turn) if has_signal(turn) else self._report_no_signal()

    def _report_no_signal(self) -> Unscored:
        return report_no_signal(taxonomy=self.taxonomy.name, tier=self.name, model=self.model)

    def _insert(self, phrase: Phrase, rule: Rule, *, fires: bool) -> None:
        word = self._root
        for token in phrase:
            word = word.following.setdefault(token, _TrieNode())
        # What several languages spell alike, such as "no", belongs to the first that means the same by it.
        if not any(fires and known and _is_equivalent(rule, other) for other, known in word.ends):
            word.ends.append((rule, fires))

    def _find_hits(self, tokens: Phrase) -> Iterator[_Hit]:
        first = self._root.following
        for start, token in enumerate(tokens):
            word = first.get(token)
            end = start + 1
            while word:
                for rule, fires in word.ends:
                    yield _Hit(start, end, rule, fires)
                word = word.following.get(tokens[end]) if end < len(tokens) else None
                end += 1

    def _hash(self) -> str:
        names = [each.name for each in fields(Rule)]
        definitions = [
            {name: getattr(rule, name) for name in names} | {"fillers": sorted(rule.fillers), "pole": sorted(rule.pole)}
            for rule in self.rules
        ]
        computed = [asdict(rule) if rule else None for rule in (self._repetition, self._rating)]
        return hash_definition([self.taxonomy.hash, definitions, *computed, self._unmatched])[:_HASH_DIGITS]


def _is_equivalent(rule: Rule, other: Rule) -> bool:
    return _get_equivalence(rule) == _get_equivalence(other)


def _get_equivalence(rule: Rule) -> tuple[object, ...]:
    return rule.label, rule.where, rule.after, rule.about, rule.outranks


def _to_match(hit: _Hit, normalised: NormalisedTurn, rank: int) -> RuleMatch:
    rule = hit.rule
    words = normalised.scope.tokens[hit.start : hit.end]
    label = rule.praise if rule.praise and not rule.pole.isdisjoint(normalised.about) else rule.label
    phrase = (" " if words[-1].isascii() else "").join(words)
    settles = rule.outranks and rule.where == "whole"
    return RuleMatch(rule.rule_id, label, rule.score, phrase, rule.target, rank, settles)


def get_stated_target(matches: Sequence[RuleMatch]) -> Target | None:
    """Return what the first rule that says so says that a message speaks of."""
    return next((match.target for match in matches if match.target), None)


def format_match(match: RuleMatch) -> str:
    """Return one line for people: the rule and its words."""
    return f"rule {match.rule_id}: “{match.phrase}”"


def _filter_hits(hits: list[_Hit], normalised: NormalisedTurn) -> list[_Hit]:
    """Keep the hits that stand where their rule wants them, that nothing negates and that no longer one overlaps."""
    answer_kind: AnswerKind = "question" if normalised.after_question else "statement"
    about_kind: AboutKind = "given" if normalised.about else "absent"
    tokens, is_whole = normalised.scope.tokens, not normalised.scope.aside
    chosen = [
        hit
        for hit in hits
        if hit.rule.after in {"any", answer_kind}
        and hit.rule.about in {"any", about_kind}
        and (is_whole or not hit.rule.unless_aside)
    ]
    margins = {
        fillers: _find_margins(tokens, fillers)
        for fillers in {hit.rule.fillers for hit in chosen if hit.rule.where != "anywhere"}
    }
    whole = {hit.rule.rule_id: hit.rule for hit in chosen if hit.rule.where == "whole"}
    fills = {name: _fills_message(rule, chosen, tokens, margins[rule.fillers]) for name, rule in whole.items()}
    placed = [
        hit
        for hit in chosen
        if (hit.rule.where != "start" or hit.start <= margins[hit.rule.fillers][0])
        and fills.get(hit.rule.rule_id, True)
        and not is_negated(tokens, hit.start)
    ]
    longest = [0] * len(tokens)
    for hit in placed:
        for position in range(hit.start, hit.end):
            longest[position] = max(longest[position], hit.end - hit.start)
    return [hit for hit in placed if max(longest[hit.start : hit.end]) == hit.end - hit.start]


def _fills_message(rule: Rule, hits: Iterable[_Hit], tokens: Phrase, margins: tuple[int, int]) -> bool:
    """Return whether a rule's phrases, one after another, are all that a message says: "no", or 😡🙄."""
    covered = {place for hit in hits if hit.rule is rule for place in range(hit.start, hit.end)}
    lead, trail = margins
    return all(place in covered or tokens[place] in rule.fillers for place in range(lead, trail))


def _find_margins(tokens: Phrase, fillers: frozenset[str]) -> tuple[int, int]:
    """Return where the first word that says something stands, and where the last one ends."""
    telling = [position for position, token in enumerate(tokens) if token not in fillers and token not in _SILENT]
    return (telling[0], telling[-1] + 1) if telling else (len(tokens), 0)

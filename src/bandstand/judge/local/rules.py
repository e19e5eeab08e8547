"""Question-aware rules: literal phrases that say how an answer was taken, in several languages at once.

Nothing here is a pattern. Phrases are looked up word by word in one tree, so the time is linear in the message however
many rules there are, and no message can make a rule slow.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar, Final, Literal, NamedTuple

from bandstand.definition import hash_definition
from bandstand.judge.local.normalise import REPETITION_THRESHOLD, NormalisedTurn, normalise_turn
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.turn import CutTurn
from bandstand.judge.verdict import Verdict

RulePosition = Literal["anywhere", "start", "whole"]
AnswerKind = Literal["any", "question", "statement"]
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
    fillers: frozenset[str] = frozenset()


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
    """

    rule_id: str
    label: str
    score: float
    phrase: str


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

    Where phrases overlap, the longest counts: "i was wrong" is no "wrong". Then a rule that outranks comes first (users
    who correct themselves are believed), a complaint outweighs praise, and the higher score wins.

    Args:
        rules: the rules.
        taxonomy: whose labels they give.
        repetition: what a repeated question means, if anything.
        unmatched: the probability that a turn is neutral where no rule fires.
    """

    name: Final = "rules"

    def __init__(
        self,
        rules: Iterable[Rule],
        taxonomy: Taxonomy,
        *,
        repetition: RepetitionRule | None = None,
        unmatched: float = 0.5,
    ) -> None:
        self.rules = tuple(rules)
        self.taxonomy = taxonomy
        self._repetition = repetition
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
        if repetition:
            self._rank[repetition.rule_id] = (True, False, -repetition.score)
        self.model = f"rules@{self._hash()}"

    def matches(self, normalised: NormalisedTurn) -> list[RuleMatch]:
        """Return every rule that fires, the one that counts first; none twice."""
        hits = list(self._find_hits(normalised.tokens))
        silenced = {hit.rule.rule_id for hit in hits if not hit.fires}
        spoken = _filter_hits([hit for hit in hits if hit.fires and hit.rule.rule_id not in silenced], normalised)
        spoken.sort(key=lambda hit: (self._rank[hit.rule.rule_id], hit.start - hit.end))
        found: dict[str, RuleMatch] = {}
        for hit in spoken:
            words = normalised.tokens[hit.start : hit.end]
            phrase = (" " if words[0].isascii() else "").join(words)
            found.setdefault(hit.rule.rule_id, RuleMatch(hit.rule.rule_id, hit.rule.label, hit.rule.score, phrase))
        again = self._repetition
        if again and normalised.similarity >= REPETITION_THRESHOLD:
            found[again.rule_id] = RuleMatch(again.rule_id, again.label, again.score, "the question again")
            return sorted(found.values(), key=lambda match: self._rank[match.rule_id])
        return list(found.values())

    def find_best(self, normalised: NormalisedTurn) -> RuleMatch | None:
        """Return the rule that counts, None where none fires."""
        matches = self.matches(normalised)
        return matches[0] if matches else None

    def verdict(self, turn: CutTurn) -> Verdict:
        """Return what the rules alone say: neutral where none fires, at the share of such turns that was measured."""
        match = self.find_best(normalise_turn(turn))
        return Verdict(
            taxonomy=self.taxonomy.name,
            label=match.label if match else self._neutral,
            confidence=match.score if match else self._unmatched,
            rationale=format_match(match) if match else "no rule fired",
            tier=self.name,
            model=self.model,
            rule=match.rule_id if match else None,
        )

    async def judge(self, turn: CutTurn) -> Verdict:
        """Return :meth:`verdict`, as every tier does."""
        return self.verdict(turn)

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
        definitions = [asdict(rule) | {"fillers": sorted(rule.fillers)} for rule in self.rules]
        again = asdict(self._repetition) if self._repetition else None
        return hash_definition([self.taxonomy.hash, definitions, again, self._unmatched])[:_HASH_DIGITS]


def _is_equivalent(rule: Rule, other: Rule) -> bool:
    return (rule.label, rule.where, rule.after) == (other.label, other.where, other.after)


def format_match(match: RuleMatch) -> str:
    """Return one line for people: the rule and its words."""
    return f"rule {match.rule_id}: “{match.phrase}”"


def _filter_hits(hits: list[_Hit], normalised: NormalisedTurn) -> list[_Hit]:
    """Keep the hits that stand where their rule wants them and that no longer one overlaps."""
    margins: dict[frozenset[str], tuple[int, int]] = {}
    answer_kind: AnswerKind = "question" if normalised.after_question else "statement"
    placed = []
    for hit in hits:
        rule = hit.rule
        if rule.after not in {"any", answer_kind}:
            continue
        if rule.where != "anywhere":
            if rule.fillers not in margins:
                margins[rule.fillers] = _find_margins(normalised.tokens, rule.fillers)
            lead, trail = margins[rule.fillers]
            if hit.start > lead or (rule.where == "whole" and hit.end < trail):
                continue
        placed.append(hit)
    longest = [0] * len(normalised.tokens)
    for hit in placed:
        for position in range(hit.start, hit.end):
            longest[position] = max(longest[position], hit.end - hit.start)
    return [hit for hit in placed if max(longest[hit.start : hit.end]) == hit.end - hit.start]


def _find_margins(tokens: Phrase, fillers: frozenset[str]) -> tuple[int, int]:
    """Return where the first word that says something stands, and where the last one ends."""
    telling = [position for position, token in enumerate(tokens) if token not in fillers and token not in _SILENT]
    return (telling[0], telling[-1] + 1) if telling else (len(tokens), 0)

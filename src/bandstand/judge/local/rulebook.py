"""Reading rules: the shipped ones with their measured precision, and a deployment's own, which are literals alike."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final, get_args

from bandstand.definition import DefinitionTable, to_configuration_error
from bandstand.errors import FieldError
from bandstand.judge.local.rules import (
    AboutKind,
    AnswerKind,
    Phrase,
    RatingRule,
    RepetitionRule,
    Rule,
    RulePosition,
    Rules,
)
from bandstand.judge.local.slots import expand_slots
from bandstand.judge.local.tokens import normalise_text, split_tokens
from bandstand.judge.taxonomy import SHIPPED_TAXONOMIES, Taxonomy, shipped_taxonomy
from bandstand.judge.verdict import TARGETS

LANGUAGES: Final = ("en", "zh", "es", "de")

_BOOKS: Final = ("signs", *LANGUAGES, *(f"behaviour-{language}" for language in LANGUAGES))
"""The files of rules: signs of no language, then how answers are taken, then how users speak of a behaviour."""

NO_RULE: Final = "none"
"""In the table of precision: the share of neutral turns where no rule fires."""

DEFAULT_PRECISION: Final = 0.5

_REPETITION_LABELS: Final[Mapping[str, str]] = {"followup-v1": "neg_constraint_restate", "correction-v1": "repetition"}
_RATING_LABELS: Final[Mapping[str, tuple[str, str]]] = {
    "followup-v1": ("pos_praise", "neg_correction"),
    "correction-v1": ("neutral", "explicit_rejection"),
}
_MAX_WORDS: Final = 40


def load_shipped_rules(
    taxonomy: Taxonomy, extra: Sequence[Rule] = (), *, precision: Mapping[str, float] | None = None
) -> Rules:
    """Return the shipped rules that have a label in this taxonomy, and after them a deployment's own.

    Args:
        taxonomy: whose labels are wanted; for a deployment's own taxonomy only ``extra`` remains.
        extra: from :func:`parse_rules`.
        precision: the precision of each rule; the shipped table if left out.

    Raises:
        ConfigurationError: two rules share an id.
    """
    if (
        not extra
        and precision is None
        and taxonomy.name in SHIPPED_TAXONOMIES
        and taxonomy == shipped_taxonomy(taxonomy.name)
    ):
        return _load_cached(taxonomy.name)
    return _build_rules(taxonomy, extra, load_shipped_precision(taxonomy.name) if precision is None else precision)


@cache
def _load_cached(taxonomy: str) -> Rules:
    """Read them once: it takes a tenth of a second, and nobody changes rules that have been read."""
    return _build_rules(shipped_taxonomy(taxonomy), (), load_shipped_precision(taxonomy))


def _build_rules(taxonomy: Taxonomy, extra: Sequence[Rule], precision: Mapping[str, float]) -> Rules:
    rules = [*parse_shipped_rules(taxonomy, precision), *extra]
    names = [rule.rule_id for rule in rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise to_configuration_error([FieldError(f"rules.{name}", "is defined twice") for name in twice])
    repeated, rated = _REPETITION_LABELS.get(taxonomy.name), _RATING_LABELS.get(taxonomy.name)
    return Rules(
        rules,
        taxonomy,
        repetition=RepetitionRule(repeated, precision.get(RepetitionRule.rule_id, DEFAULT_PRECISION))
        if repeated
        else None,
        rating=RatingRule(*rated, precision.get(RatingRule.rule_id, DEFAULT_PRECISION)) if rated else None,
        unmatched=precision.get(NO_RULE, DEFAULT_PRECISION),
    )


def parse_rules(definitions: object, taxonomy: Taxonomy, path: str = "rules") -> tuple[Rule, ...]:
    """Read a deployment's own rules: tables ``{id, label, any, score, unless?, where?, after?, about?, target?, …}``.

    ``any`` and ``unless`` are literal phrases, compared word by word after folding case, accents and widths.

    Args:
        definitions: the parsed TOML.
        taxonomy: whose labels they may give.
        path: where they stand, for messages.

    Raises:
        ConfigurationError: names every fault found, not only the first.
    """
    faults: list[FieldError] = []
    if not isinstance(definitions, list):
        raise to_configuration_error([FieldError(path, "must be a list of tables")])
    rules = []
    for index, entry in enumerate(definitions):
        table = DefinitionTable(entry, f"{path}[{index}]", faults)
        label = table.read_text("label", choices=taxonomy.label_names)
        score = table.read_number("score", above=0)
        if score > 1:
            table.add_fault("score", "must be at most 1")
        rules.append(_read_rule(table, label, min(score, 1.0), frozenset()))
        table.check_unknown_keys()
    if faults:
        raise to_configuration_error(faults)
    return tuple(rules)


def parse_shipped_rules(taxonomy: Taxonomy, precision: Mapping[str, float]) -> list[Rule]:
    """Read the shipped rules for a taxonomy, each with its precision; one half if none is given.

    Raises:
        ConfigurationError: a shipped file is broken; names every fault.
    """
    faults: list[FieldError] = []
    rules = []
    documents = _load_books()
    # People switch languages within a sentence, so a filler of one is a filler in all.
    words = (word for document in documents.values() for word in document.get("fillers", ()))
    fillers = frozenset(token for word in words for token in split_tokens(normalise_text(word)))
    for language, document in documents.items():
        for index, entry in enumerate(document["rules"]):
            table = DefinitionTable(entry, f"rules.{language}[{index}]", faults)
            label, praise = (_read_shipped_label(table, key, taxonomy) for key in ("labels", "praise"))
            if label is not None:
                score = precision.get(str(entry.get("id")), DEFAULT_PRECISION)
                rules.append(_read_rule(table, label, score, fillers, praise, document.get("slots", {})))
                table.check_unknown_keys()
    if faults:
        raise to_configuration_error(faults)
    return rules


@cache
def _load_books() -> Mapping[str, dict[str, Any]]:
    """The shipped files, which every taxonomy reads."""
    return {language: tomllib.loads(_read_shipped_text(f"{language}.toml")) for language in _BOOKS}


def _read_shipped_label(table: DefinitionTable, key: str, taxonomy: Taxonomy) -> str | None:
    labels = table.read_value(key)
    label = labels.get(taxonomy.name) if isinstance(labels, Mapping) else None
    return str(label) if label in taxonomy.label_names else None


def load_shipped_precision(taxonomy: str) -> Mapping[str, float]:
    """Return the measured precision of each shipped rule under a taxonomy; empty for one that is not shipped."""
    measured = json.loads(_read_shipped_text("precision.json"))["taxonomies"].get(taxonomy, {})
    return {name: entry["precision"] for name, entry in measured.items()}


def _read_rule(
    table: DefinitionTable,
    label: str,
    score: float,
    fillers: frozenset[str],
    praise: str | None = None,
    slots: Mapping[str, Sequence[str]] | None = None,
) -> Rule:
    positions, answers, abouts = get_args(RulePosition), get_args(AnswerKind), get_args(AboutKind)
    where = table.read_text("where", "anywhere", positions)
    after = table.read_text("after", "any", answers)
    about = table.read_text("about", "any", abouts)
    target = table.read_text("target", "any", ("any", *TARGETS))
    pole = table.read_texts("pole") or ()
    return Rule(
        rule_id=table.read_text("id"),
        label=label,
        score=score,
        phrases=_read_phrases(table, "any", _read_literals(table, "any", slots)),
        unless=_read_phrases(table, "unless", _read_literals(table, "unless", slots)),
        where=next((place for place in positions if place == where), "anywhere"),
        after=next((answer for answer in answers if answer == after), "any"),
        outranks=table.read_boolean("outranks", default=False),
        about=next((choice for choice in abouts if choice == about), "any"),
        unless_aside=table.read_boolean("unless_aside", default=False),
        target=next((choice for choice in TARGETS if choice == target), None),
        praise=praise,
        pole=frozenset(token for word in pole for token in split_tokens(normalise_text(word))),
        fillers=fillers,
    )


def _read_literals(table: DefinitionTable, key: str, slots: Mapping[str, Sequence[str]] | None) -> Sequence[str]:
    """Read a list of phrases; in shipped files they may have slots."""
    texts = table.read_texts(key) or ()
    return texts if slots is None else [literal for text in texts for literal in expand_slots(text, slots)]


def _read_phrases(table: DefinitionTable, key: str, texts: Sequence[str]) -> tuple[Phrase, ...]:
    phrases = dict.fromkeys(split_tokens(normalise_text(text)) for text in texts)
    if key == "any" and not phrases:
        table.add_fault(key, "must be a list of phrases that is not empty")
    for phrase in phrases:
        if not 1 <= len(phrase) <= _MAX_WORDS:
            table.add_fault(key, f"must hold phrases of 1 to {_MAX_WORDS} words")
    return tuple(phrases)


def _read_shipped_text(name: str) -> str:
    return resources.files("bandstand.judge").joinpath("data", "rules", name).read_text(encoding="utf-8")

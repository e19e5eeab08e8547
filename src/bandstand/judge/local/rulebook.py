"""Reading rules: the shipped ones with their measured precision, and a deployment's own, which are literals alike."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Final, get_args

from bandstand.definition import Table, configuration_error
from bandstand.errors import FieldError
from bandstand.judge.local.normalise import normalised, tokens_of
from bandstand.judge.local.rules import After, Phrase, Repetition, Rule, Rules, Where
from bandstand.judge.taxonomy import SHIPPED, Taxonomy, shipped_taxonomy

LANGUAGES: Final = ("en", "zh", "es", "de")

NO_RULE: Final = "none"
"""In the table of precision: the share of neutral turns where no rule fires."""

UNMEASURED: Final = 0.5

_REPEATED: Final[Mapping[str, str]] = {"followup-v1": "neg_constraint_restate", "correction-v1": "repetition"}
_MAX_WORDS: Final = 40


def shipped_rules(
    taxonomy: Taxonomy, own: Sequence[Rule] = (), *, measured: Mapping[str, float] | None = None
) -> Rules:
    """Return the shipped rules that have a label in this taxonomy, and after them a deployment's own.

    Args:
        taxonomy: whose labels are wanted; for a deployment's own taxonomy only ``own`` remains.
        own: from :func:`parse_rules`.
        measured: the precision of each rule; the shipped table if left out.

    Raises:
        ConfigurationError: two rules share an id.
    """
    if not own and measured is None and taxonomy.name in SHIPPED and taxonomy == shipped_taxonomy(taxonomy.name):
        return _as_they_ship(taxonomy.name)
    return _joined(taxonomy, own, shipped_precision(taxonomy.name) if measured is None else measured)


@cache
def _as_they_ship(taxonomy: str) -> Rules:
    """Read them once: it takes a tenth of a second, and nobody changes rules that have been read."""
    return _joined(shipped_taxonomy(taxonomy), (), shipped_precision(taxonomy))


def _joined(taxonomy: Taxonomy, own: Sequence[Rule], precision: Mapping[str, float]) -> Rules:
    rules = [*read_shipped(taxonomy, precision), *own]
    names = [rule.rule_id for rule in rules]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise configuration_error([FieldError(f"rules.{name}", "is defined twice") for name in twice])
    repeated = _REPEATED.get(taxonomy.name)
    return Rules(
        rules,
        taxonomy,
        repetition=Repetition(repeated, precision.get(Repetition.rule_id, UNMEASURED)) if repeated else None,
        unmatched=precision.get(NO_RULE, UNMEASURED),
    )


def parse_rules(definitions: object, taxonomy: Taxonomy, path: str = "rules") -> tuple[Rule, ...]:
    """Read a deployment's own rules: a list of tables ``{id, label, any, score, unless?, where?, after?, outranks?}``.

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
        raise configuration_error([FieldError(path, "must be a list of tables")])
    rules = []
    for index, entry in enumerate(definitions):
        table = Table(entry, f"{path}[{index}]", faults)
        label = table.text("label", choices=taxonomy.names)
        score = table.number("score", above=0)
        if score > 1:
            table.fault("score", "must be at most 1")
        rules.append(_read_rule(table, label, min(score, 1.0), frozenset()))
        table.close()
    if faults:
        raise configuration_error(faults)
    return tuple(rules)


def read_shipped(taxonomy: Taxonomy, precision: Mapping[str, float]) -> list[Rule]:
    """Read the shipped rules for a taxonomy, each with the precision given for it, a half where there is none.

    Raises:
        ConfigurationError: a shipped file is broken; names every fault.
    """
    faults: list[FieldError] = []
    rules = []
    documents = {language: tomllib.loads(_shipped_text(f"{language}.toml")) for language in LANGUAGES}
    # People switch languages within a sentence, so a filler of one is a filler in all.
    words = (word for document in documents.values() for word in document["fillers"])
    fillers = frozenset(token for word in words for token in tokens_of(normalised(word)))
    for language, document in documents.items():
        for index, entry in enumerate(document["rules"]):
            table = Table(entry, f"rules.{language}[{index}]", faults)
            labels = table.value("labels")
            label = labels.get(taxonomy.name) if isinstance(labels, Mapping) else None
            if label in taxonomy.names:
                rules.append(_read_rule(table, str(label), precision.get(str(entry.get("id")), UNMEASURED), fillers))
                table.close()
    if faults:
        raise configuration_error(faults)
    return rules


def shipped_precision(taxonomy: str) -> Mapping[str, float]:
    """Return the measured precision of each shipped rule under a taxonomy; empty for one that is not shipped."""
    measured = json.loads(_shipped_text("precision.json"))["taxonomies"].get(taxonomy, {})
    return {name: entry["precision"] for name, entry in measured.items()}


def _read_rule(table: Table, label: str, score: float, fillers: frozenset[str]) -> Rule:
    places, answers = get_args(Where), get_args(After)
    where = table.text("where", "anywhere", places)
    after = table.text("after", "any", answers)
    return Rule(
        rule_id=table.text("id"),
        label=label,
        score=score,
        phrases=_phrases(table, "any", table.texts("any") or ()),
        unless=_phrases(table, "unless", table.texts("unless") or ()),
        where=next((place for place in places if place == where), "anywhere"),
        after=next((answer for answer in answers if answer == after), "any"),
        outranks=table.boolean("outranks", default=False),
        fillers=fillers,
    )


def _phrases(table: Table, key: str, texts: Sequence[str]) -> tuple[Phrase, ...]:
    phrases = dict.fromkeys(tokens_of(normalised(text)) for text in texts)
    if key == "any" and not phrases:
        table.fault(key, "must be a list of phrases that is not empty")
    for phrase in phrases:
        if not 1 <= len(phrase) <= _MAX_WORDS:
            table.fault(key, f"must hold phrases of 1 to {_MAX_WORDS} words")
    return tuple(phrases)


def _shipped_text(name: str) -> str:
    return resources.files("bandstand.judge").joinpath("data", "rules", name).read_text(encoding="utf-8")

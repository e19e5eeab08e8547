"""Picks: what was picked lately, by item, by source and by feature value, and what it earned."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bandstand.bandit.features import CONTENT
from bandstand.service.context import format_time
from bandstand.service.shadow_value import NORMAL_QUANTILE, ValueEstimate
from bandstand.store.tables.console_queries import ConsoleSource
from bandstand.store.tables.picks import MAX_PICKS, LoggedPick, Value

MAX_TABLES = 20
"""Features that have a table, the most frequent ones."""

_MAX_SINGLE = 8
"""Different numbers that stand for themselves; more are put into ranges of about as many picks each."""
_RANGES = 5
_NO_SOURCE = "(none)"
_MIN_REWARDED = 5
"""Below so many rewards a normal interval says nothing: of one, or of two alike, it would have no width."""

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class PickGroup:
    """Picks that have something in common.

    Attributes:
        name: the item, the source, or the value.
        share: of all picks.
        rewarded: the picks with a reward that stands.
        mean_reward: of these.
        difference: to the mean over all other picks; ``None`` if there is none.
    """

    name: str
    picks: int
    share: float
    rewarded: int
    mean_reward: ValueEstimate | None
    difference: ValueEstimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PickTable:
    """Groups of picks by one question.

    Attributes:
        groups: the largest of them, the largest first; of a number all of them, eight at most, in its order.
        distinct: how many there are.
        others: all further groups taken together; ``None`` if there are none.
    """

    groups: Sequence[PickGroup]
    distinct: int
    others: PickGroup | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PickReport:
    """What the newest decisions picked.

    Attributes:
        sentence: says what is picked most, and what it earns.
        since: when the oldest of them was made; ``None`` for no decision.
        decisions: how many; no more than ``max_decisions``, the newest.
        mean_reward: of those with a reward.
        features: by name; an element of a list, and what stands in an object, by its path.
        content_withheld: feature values were left out, for the caller may not see them.
    """

    sentence: str
    since: str | None
    decisions: int
    max_decisions: int
    rewarded: int
    mean_reward: ValueEstimate | None
    items: PickTable
    sources: PickTable
    features: Mapping[str, PickTable]
    content_withheld: bool


class _Outcomes(NamedTuple):
    """The result of all picks: arrays of one length.

    Attributes:
        rewards: 0 if there is none.
        is_rewarded: 1 or 0.
        people: numbers of the users from 0 on.
    """

    rewards: Array
    is_rewarded: Array
    people: Indices


async def load_pick_report(sight: ConsoleSource, limit: int, *, shows_content: bool = True) -> PickReport:
    """What the newest decisions picked.

    Args:
        sight: the ledger.
        limit: groups in a table.
        shows_content: with the tables of feature values.
    """
    picks = await sight.list_picks()
    return await asyncio.to_thread(build_pick_report, picks, limit, shows_content=shows_content)


def build_pick_report(
    picks: Sequence[LoggedPick], limit: int, *, shows_content: bool = True, shows_features: bool = True
) -> PickReport:
    """What picks say, newest first, as :func:`load_pick_report` has it; ``shows_features`` with their values."""
    people: dict[int, int] = {}
    outcomes = _Outcomes(
        np.array([each.reward or 0.0 for each in picks], dtype=np.float64),
        np.array([each.reward is not None for each in picks], dtype=np.float64),
        np.array([people.setdefault(each.uid, len(people)) for each in picks], dtype=np.intp),
    )
    every = np.ones(len(picks), dtype=np.bool_)
    items = _build_table(outcomes, [each.candidate.tip_id for each in picks], limit)
    mean_reward, _ = _compare(outcomes, every)
    return PickReport(
        sentence=_describe(len(picks), items),
        since=format_time(picks[-1].ts) if picks else None,
        decisions=len(picks),
        max_decisions=MAX_PICKS,
        rewarded=int(outcomes.is_rewarded.sum()),
        mean_reward=mean_reward,
        items=items,
        sources=_build_table(outcomes, [each.candidate.source or _NO_SOURCE for each in picks], limit),
        features=_build_features(outcomes, picks, limit) if shows_content and shows_features else {},
        content_withheld=not shows_content,
    )


def _build_features(outcomes: _Outcomes, picks: Sequence[LoggedPick], limit: int) -> dict[str, PickTable]:
    places, values = defaultdict[str, list[int]](list), defaultdict[str, list[Value]](list)
    for at, each in enumerate(picks):
        for name, value in each.candidate.features:
            places[name].append(at)
            values[name].append(value)
    values.pop(CONTENT, None)
    common = Counter({name: len(found) for name, found in values.items()}).most_common(MAX_TABLES)
    return {
        name: _build_table(outcomes, values[name], limit, places[name]) for name in sorted(name for name, _ in common)
    }


def _build_table(
    outcomes: _Outcomes, values: Sequence[Value], limit: int, places: Sequence[int] | None = None
) -> PickTable:
    """The groups of picks by a value.

    Args:
        outcomes: of all picks.
        values: of picks; one may have several.
        limit: groups.
        places: whose each value is; all of them in their order if left out.
    """
    at = np.arange(len(values)) if places is None else np.array(places, dtype=np.intp)
    codes, code_of, in_order = _encode_values(values)
    counts = np.bincount(codes, minlength=len(code_of)).tolist()
    names = in_order or sorted(code_of, key=lambda name: -counts[code_of[name]])[:limit]
    groups = [_build_group(outcomes, name, at[codes == code_of.get(name, -1)]) for name in names]
    left_out = [code for name, code in code_of.items() if name not in set(names)]
    return PickTable(
        groups=groups,
        distinct=len(code_of),
        others=_build_group(outcomes, f"{len(left_out):,} others", at[np.isin(codes, left_out)]) if left_out else None,
    )


def _encode_values(values: Sequence[Value]) -> tuple[Indices, dict[str, int], list[str]]:
    """A number for each value, the number of each name, and the names in the order of numbers, if all values are such.

    Different numbers that are many have the name of their range.
    """
    distinct = dict.fromkeys(values)
    numbers = sorted(value for value in distinct if isinstance(value, float))
    if len(numbers) > _MAX_SINGLE:
        given = np.array([value for value in values if isinstance(value, float)])
        edges = sorted({float(each) for each in np.quantile(given, np.linspace(0, 1, _RANGES + 1), method="lower")})
        names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
        inner = edges[1:-1]  # a value on an edge belongs above it, but for the last
        ranges = dict(zip(numbers, np.searchsorted(inner, numbers, side="right").tolist(), strict=True))
        words = {number: names[place] for number, place in ranges.items()}
    else:
        words = {number: f"{number:g}" for number in numbers}
        names = list(words.values())
    code_of: dict[str, int] = {}
    codes = {
        value: code_of.setdefault(words[value] if isinstance(value, float) else value, len(code_of))
        for value in distinct
    }
    encoded = np.fromiter(map(codes.__getitem__, values), np.intp, len(values))
    return encoded, code_of, list(dict.fromkeys(names)) if len(numbers) == len(distinct) else []


def _build_group(outcomes: _Outcomes, name: str, places: Indices) -> PickGroup:
    inside = np.zeros(len(outcomes.rewards), dtype=np.bool_)
    inside[places] = True
    mean_reward, difference = _compare(outcomes, inside)
    picks = int(inside.sum())
    return PickGroup(
        name=name,
        picks=picks,
        share=picks / len(inside),
        rewarded=int(outcomes.is_rewarded[inside].sum()),
        mean_reward=mean_reward,
        difference=difference,
    )


def _compare(outcomes: _Outcomes, inside: npt.NDArray[np.bool_]) -> tuple[ValueEstimate | None, ValueEstimate | None]:
    """The mean reward of some picks, and its difference to that of all others."""
    n, rest = (float(outcomes.is_rewarded[side].sum()) for side in (inside, ~inside))
    if not n:
        return None, None
    mean = float(outcomes.rewards[inside].sum()) / n
    terms = np.where(inside, outcomes.rewards - mean, 0.0) * outcomes.is_rewarded / n
    of_mean = _estimate(mean, terms, outcomes, n)
    if not rest:
        return of_mean, None
    other = float(outcomes.rewards[~inside].sum()) / rest
    terms -= np.where(inside, 0.0, outcomes.rewards - other) * outcomes.is_rewarded / rest
    return of_mean, _estimate(mean - other, terms, outcomes, min(n, rest))


def _estimate(value: float, terms: Array, outcomes: _Outcomes, rewarded: float) -> ValueEstimate:
    """A value that decisions add terms to, with a normal interval of 95 % where enough of them are ``rewarded``.

    The variance is Σ t² · n/(n − 1), once over decisions and once over users, whose terms are added up before: the
    larger of the two. Users differ lastingly, so that their decisions are no independent ones (Deng, Knoblich and Lu
    2018); and if there are few of them, theirs alone would be too small.
    """
    squares = []
    of_people = np.bincount(outcomes.people, weights=terms)
    people = int((np.bincount(outcomes.people, weights=outcomes.is_rewarded) > 0.0).sum())
    for each, n in ((terms, int(outcomes.is_rewarded.sum())), (of_people, people)):
        if n > 1:
            squares.append(float((each * each).sum()) * n / (n - 1))
    stderr = float(np.sqrt(max(squares))) if squares and rewarded >= _MIN_REWARDED else None
    half = None if stderr is None else NORMAL_QUANTILE * stderr
    return ValueEstimate(
        value=value,
        stderr=stderr,
        low=None if half is None else value - half,
        high=None if half is None else value + half,
    )


def _describe(decisions: int, items: PickTable) -> str:
    if not items.groups:
        return "Nothing was picked yet: the first call of /score will be here."
    most = items.groups[0]
    of = "the one decision" if decisions == 1 else f"the newest {decisions:,} decisions"
    words = f"Of {of}, {most.share:.1%} picked {most.name}"
    if most.mean_reward is None:
        return f"{words}; none of these has a reward yet."
    if most.difference is None or most.difference.low is None or most.difference.high is None:
        return f"{words}, with a mean reward of {most.mean_reward.value:.3f}."
    if most.difference.low > 0.0:
        beside = f"more than the rest by {most.difference.value:.3f}, between {most.difference.low:.3f} and"
        return f"{words}, which earns {beside} {most.difference.high:.3f}."
    if most.difference.high < 0.0:
        beside = f"less than the rest by {-most.difference.value:.3f}, between {-most.difference.high:.3f} and"
        return f"{words}, which earns {beside} {-most.difference.low:.3f}."
    return f"{words}; whether it earns more or less than the rest cannot be told yet."

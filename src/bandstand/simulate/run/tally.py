"""What came out: means, gaps and regrets with standard errors over seeds, from the steps that were played.

Two kinds of mean are told apart. The *received* reward is what users gave, and what a product would see. The *expected*
one is the exact mean reward of each pick in the world, free of the luck of the reactions; regret and the gap closed are
made of it, on the very steps that were played.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandstand.simulate.plan import Plan, by_truth
from bandstand.simulate.run.judge_agreement import Hearing
from bandstand.simulate.run.play import Key, Past
from bandstand.simulate.world.world import Episode

Array = NDArray[np.float64]

POINTS = 500
"""Most points of a curve; a longer run has several decisions in each."""

_MOST_PERSONAS = 200
_OTHERS = "others"
_SUMS = ("count", "received", "expected", "oracle", "random")


def ratio(numerator: Array, denominator: Array) -> tuple[Array, Array]:
    """Give Σ numerator / Σ denominator over seeds and its standard error by linearisation (Cochran 1977, 6.4).

    With S seeds and residuals e = numerator − value · denominator: √(S/(S−1) Σ e²) / |Σ denominator|; where every
    denominator is the same this is the ordinary standard error of a mean.

    Args:
        numerator: (S, …), a row a seed.
        denominator: of the same shape; a seed where it is 0 does not count.

    Returns:
        Value and standard error of shape (…); NaN where there is nothing, or fewer than two seeds.
    """
    seeds = np.count_nonzero(denominator, axis=0)
    total = denominator.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(total != 0, numerator.sum(axis=0) / total, np.nan)
        squares = ((numerator - value * denominator) ** 2).sum(axis=0)
        stderr = np.sqrt(np.where(seeds > 1, seeds / (seeds - 1) * squares, np.nan)) / np.abs(total)
    return value, stderr


class Tally:
    """Sums over everything that is added; what it says is a function of that alone, in whatever order it came.

    Args:
        plan: what is played.
        points: most points of a curve.
    """

    def __init__(self, plan: Plan, *, points: int = POINTS) -> None:
        self._plan = plan
        self._width = -(-plan.decisions // points)
        self._shape = (plan.seeds, -(-plan.decisions // self._width))
        self._policies = {name: _Sums(self._shape) for name in plan.contestants}
        self._hearing = {} if plan.chat is None else {name: Hearing() for name in plan.policies}
        self._met: dict[tuple[int, int], int] = {}
        self._baseline = _Sums(self._shape)

    def add(self, key: Key, episode: Episode, past: Sequence[Past], start: int = 0) -> None:
        """Count the steps that one user has played with one policy, from ``start`` on; once for each of them."""
        seed, user, policy = key
        steps = np.arange(start, len(past))
        new = past[start:]
        rows = np.zeros((len(_SUMS), len(new)))
        rows[0] = 1
        rows[1] = [step.judged.reaction.reward for step in new]
        rows[2] = episode.expected_reward[steps, [step.pick for step in new]]
        rows[3] = episode.oracle_reward[start : len(past)]
        rows[4] = episode.random_reward[start : len(past)]
        place = seed - self._plan.first_seed
        sums = self._policies[policy]
        sums.add(place, self._binned(rows, start))
        sums.judges.update(step.judged[1:] for step in new)
        actions = Counter(step.judged.reaction.action for step in new)
        sums.actions.update(actions)
        persona = sums.persona(episode.persona.name)
        persona["actions"].update(actions)
        persona["sums"] += rows.sum(axis=1)
        if policy in self._hearing:
            self._hearing[policy].add(new)
        met = self._met.get((seed, user), 0)
        if len(past) > met:
            self._met[seed, user] = len(past)
            self._baseline.add(place, self._binned(rows[:, met - start :], met))

    def summary(self) -> dict[str, Any]:
        """Say what came out, as JSON values; None where there is nothing to say yet."""
        first = self._policies[self._plan.policies[0]]
        return {
            "policies": {
                name: {
                    **_contestant(sums),
                    "advantage": None if sums is first else _advantage(sums, first),
                    "actions": _shares(sums.actions, self._plan.acts),
                    "judges": _judges(sums.judges),
                    "by_decision": {"decision": self._decisions(), **_contestant(sums, by_decision=True)},
                }
                for name, sums in self._policies.items()
            },
            "baselines": {name: self._bound(name) for name in ("random", "oracle")},
            "personas": {
                name: {persona: _persona(kept, self._plan.acts) for persona, kept in sums.personas.items()}
                for name, sums in self._policies.items()
            },
            **({"hearing": self._heard()} if self._hearing else {}),
        }

    def _heard(self) -> dict[str, Any]:
        """How well the judge heard, by policy, and what that cost: less expected reward than taught by the truth."""
        return {
            name: {
                **hearing.summary(),
                "regret_cost": _advantage(self._policies[by_truth(name)], self._policies[name]),
            }
            for name, hearing in self._hearing.items()
        }

    def _binned(self, rows: Array, start: int) -> Array:
        """Add up steps that share a point of the curve: (5, B)."""
        bins = (start + np.arange(rows.shape[1])) // self._width
        return np.array([np.bincount(bins, row, self._shape[1]) for row in rows])

    def _decisions(self) -> list[int]:
        """The first decision of each point of the curve, counted from 1."""
        return list(range(1, self._plan.decisions + 1, self._width))

    def _bound(self, name: str) -> dict[str, Any]:
        sums = self._baseline
        overall = ratio(sums.of(name).sum(axis=1), sums.of("count").sum(axis=1))
        curve = ratio(sums.of(name), sums.of("count"))
        return {
            "mean_reward": _number(overall[0]),
            "stderr": _number(overall[1]),
            "by_decision": {
                "decision": self._decisions(),
                "mean_reward": _numbers(curve[0]),
                "stderr": _numbers(curve[1]),
            },
        }


class _Sums:
    """Sums by seed and point of the curve, (S, B) each, and counts of what has no place on a curve."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._sums = np.zeros((len(_SUMS), *shape))
        self.actions: Counter[str] = Counter()
        self.judges: Counter[tuple[str, str | None]] = Counter()
        self.personas: dict[str, dict[str, Any]] = {}

    def add(self, place: int, binned: Array) -> None:
        self._sums[:, place] += binned

    def of(self, name: str) -> Array:
        return np.asarray(self._sums[_SUMS.index(name)])

    def persona(self, name: str) -> dict[str, Any]:
        if name not in self.personas and len(self.personas) >= _MOST_PERSONAS:
            name = _OTHERS
        return self.personas.setdefault(name, {"sums": np.zeros(len(_SUMS)), "actions": Counter()})


def _contestant(sums: _Sums, *, by_decision: bool = False) -> dict[str, Any]:
    count, received, expected, oracle, random = (
        sums.of(name) if by_decision else sums.of(name).sum(axis=1, keepdims=True) for name in _SUMS
    )
    mean, stderr = ratio(received, count)
    expected_mean, expected_stderr = ratio(expected, count)
    gap, gap_stderr = ratio(expected - random, oracle - random)
    regret, regret_stderr = ratio(oracle - expected, count)
    measured = {
        "mean_reward": mean,
        "stderr": stderr,
        "gap_closed": gap,
        "gap_stderr": gap_stderr,
        "regret": regret,
        "regret_stderr": regret_stderr,
        "expected_reward": expected_mean,
        "expected_stderr": expected_stderr,
    }
    decisions = count.sum(axis=0).astype(int).tolist()
    if by_decision:
        return {"decisions": decisions, **{name: _numbers(values) for name, values in measured.items()}}
    return {"decisions": decisions[0], **{name: _number(values[0]) for name, values in measured.items()}}


def _advantage(sums: _Sums, first: _Sums) -> dict[str, Any]:
    """The difference of two policies' expected rewards, seed by seed, where both have played."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mine, theirs = (each.of("expected").sum(axis=1) / each.of("count").sum(axis=1) for each in (sums, first))
    differences = (mine - theirs)[np.isfinite(mine) & np.isfinite(theirs)]
    value, stderr = ratio(differences, np.ones(len(differences)))
    return {"mean": _number(value), "stderr": _number(stderr)}


def _persona(kept: Mapping[str, Any], acts: Sequence[str]) -> dict[str, Any]:
    count, received, expected, oracle, random = kept["sums"].tolist()
    return {
        "decisions": int(count),
        "mean_reward": received / count,
        "expected_reward": expected / count,
        "gap_closed": (expected - random) / (oracle - random) if oracle != random else None,
        "regret": (oracle - expected) / count,
        "actions": _shares(kept["actions"], acts),
    }


def _shares(actions: Mapping[str, int], acts: Sequence[str]) -> dict[str, float]:
    total = sum(actions.values())
    return {action: actions.get(action, 0) / total if total else 0.0 for action in acts}


def _judges(judges: Mapping[tuple[str, str | None], int]) -> list[dict[str, Any]]:
    return [
        {"judge": judge, "fallback": fallback, "decisions": count}
        for (judge, fallback), count in sorted(judges.items(), key=lambda item: (-item[1], str(item[0])))
    ]


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _numbers(values: Array) -> list[float | None]:
    return [_number(value) for value in values]

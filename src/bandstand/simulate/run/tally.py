"""What came out: means, gaps and regrets with standard errors over seeds, from the steps that were played.

There are two kinds of mean. The *received* reward is what users gave, and what a product would see. The *expected*
one is the exact mean reward of each pick in the world, free of the luck of the reactions; regret and the gap closed are
made of it, on the very steps that were played.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandstand.simulate.plan import Plan, to_truth_name
from bandstand.simulate.run.judge_agreement import JudgeAgreement
from bandstand.simulate.run.play import PlayedStep, PlayKey
from bandstand.simulate.world.world import Episode

Array = NDArray[np.float64]

POINTS = 500
"""Most points of a curve; a longer run has several decisions in each."""

_MAX_PERSONAS = 200
_OTHERS = "others"
_SUMS = ("count", "received", "expected", "oracle", "random")


def compute_ratio(numerator: Array, denominator: Array) -> tuple[Array, Array]:
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


class SimulationTally:
    """Sums over everything that is added; what it says is a function of that alone, in whatever order it came.

    Args:
        plan: what is played.
        points: most points of a curve.
    """

    def __init__(self, plan: Plan, *, points: int = POINTS) -> None:
        self._plan = plan
        self._width = -(-plan.decisions_per_user // points)
        self._shape = (plan.seeds, -(-plan.decisions_per_user // self._width))
        self._policies = {name: _Sums(self._shape) for name in plan.contestants}
        self._agreement = {} if plan.chat is None else {name: JudgeAgreement() for name in plan.policies}
        self._met: dict[tuple[int, int], int] = {}
        self._baseline = _Sums(self._shape)

    def add(self, key: PlayKey, episode: Episode, steps: Sequence[PlayedStep], start: int = 0) -> None:
        """Count the steps that one user has played with one policy, from ``start`` on; once for each of them."""
        seed, user, policy = key
        new = steps[start:]
        indices = np.arange(start, len(steps))
        rows = np.zeros((len(_SUMS), len(new)))
        rows[0] = 1
        rows[1] = [step.judged.reaction.reward for step in new]
        rows[2] = episode.expected_reward[indices, [step.pick for step in new]]
        rows[3] = episode.oracle_reward[start : len(steps)]
        rows[4] = episode.random_reward[start : len(steps)]
        seed_index = seed - self._plan.first_seed
        sums = self._policies[policy]
        sums.add(seed_index, self._group_rows(rows, start))
        sums.judges.update(step.judged[1:] for step in new)
        actions = Counter(step.judged.reaction.action for step in new)
        sums.actions.update(actions)
        persona = sums.get_persona(episode.persona.name)
        persona["actions"].update(actions)
        persona["sums"] += rows.sum(axis=1)
        if policy in self._agreement:
            self._agreement[policy].add(new)
        met = self._met.get((seed, user), 0)
        if len(steps) > met:
            self._met[seed, user] = len(steps)
            self._baseline.add(seed_index, self._group_rows(rows[:, met - start :], met))

    def build_summary(self) -> dict[str, Any]:
        """Say what came out, as JSON values; None if there is nothing to say yet."""
        first = self._policies[self._plan.policies[0]]
        return {
            "policies": {
                name: {
                    **_compute_contestant(sums),
                    "advantage": None if sums is first else _compute_advantage(sums, first),
                    "actions": _compute_shares(sums.actions, self._plan.action_names),
                    "judges": _list_judges(sums.judges),
                    "by_decision": {
                        "decision": self._list_first_decisions(),
                        **_compute_contestant(sums, by_decision=True),
                    },
                }
                for name, sums in self._policies.items()
            },
            "baselines": {name: self._compute_baseline(name) for name in ("random", "oracle")},
            "personas": {
                name: {
                    persona: _compute_persona(kept, self._plan.action_names) for persona, kept in sums.personas.items()
                }
                for name, sums in self._policies.items()
            },
            **({"hearing": self._build_agreement()} if self._agreement else {}),
        }

    def _build_agreement(self) -> dict[str, Any]:
        """How well the judge read, by policy, and its cost.

        The loss of expected reward compared with being taught by the truth.
        """
        return {
            name: {
                **hearing.build_summary(),
                "regret_cost": _compute_advantage(self._policies[to_truth_name(name)], self._policies[name]),
            }
            for name, hearing in self._agreement.items()
        }

    def _group_rows(self, rows: Array, start: int) -> Array:
        """Add up steps that share a point of the curve: (5, B)."""
        bins = (start + np.arange(rows.shape[1])) // self._width
        return np.array([np.bincount(bins, row, self._shape[1]) for row in rows])

    def _list_first_decisions(self) -> list[int]:
        """The first decision of each point of the curve, counted from 1."""
        return list(range(1, self._plan.decisions_per_user + 1, self._width))

    def _compute_baseline(self, name: str) -> dict[str, Any]:
        sums = self._baseline
        overall = compute_ratio(sums.get(name).sum(axis=1), sums.get("count").sum(axis=1))
        curve = compute_ratio(sums.get(name), sums.get("count"))
        return {
            "mean_reward": _to_number(overall[0]),
            "stderr": _to_number(overall[1]),
            "by_decision": {
                "decision": self._list_first_decisions(),
                "mean_reward": _to_numbers(curve[0]),
                "stderr": _to_numbers(curve[1]),
            },
        }


class _Sums:
    """Sums by seed and point of the curve, (S, B) each, and counts of what has no place on a curve."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._sums = np.zeros((len(_SUMS), *shape))
        self.actions: Counter[str] = Counter()
        self.judges: Counter[tuple[str, str | None]] = Counter()
        self.personas: dict[str, dict[str, Any]] = {}

    def add(self, seed_index: int, binned: Array) -> None:
        self._sums[:, seed_index] += binned

    def get(self, name: str) -> Array:
        return np.asarray(self._sums[_SUMS.index(name)])

    def get_persona(self, name: str) -> dict[str, Any]:
        if name not in self.personas and len(self.personas) >= _MAX_PERSONAS:
            name = _OTHERS
        return self.personas.setdefault(name, {"sums": np.zeros(len(_SUMS)), "actions": Counter()})


def _compute_contestant(sums: _Sums, *, by_decision: bool = False) -> dict[str, Any]:
    count, received, expected, oracle, random = (
        sums.get(name) if by_decision else sums.get(name).sum(axis=1, keepdims=True) for name in _SUMS
    )
    mean, stderr = compute_ratio(received, count)
    expected_mean, expected_stderr = compute_ratio(expected, count)
    gap, gap_stderr = compute_ratio(expected - random, oracle - random)
    regret, regret_stderr = compute_ratio(oracle - expected, count)
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
        return {"decisions": decisions, **{name: _to_numbers(values) for name, values in measured.items()}}
    return {"decisions": decisions[0], **{name: _to_number(values[0]) for name, values in measured.items()}}


def _compute_advantage(sums: _Sums, first: _Sums) -> dict[str, Any]:
    """The difference of two policies' expected rewards, seed by seed, where both have played."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mine, theirs = (each.get("expected").sum(axis=1) / each.get("count").sum(axis=1) for each in (sums, first))
    differences = (mine - theirs)[np.isfinite(mine) & np.isfinite(theirs)]
    value, stderr = compute_ratio(differences, np.ones(len(differences)))
    return {"mean": _to_number(value), "stderr": _to_number(stderr)}


def _compute_persona(kept: Mapping[str, Any], acts: Sequence[str]) -> dict[str, Any]:
    count, received, expected, oracle, random = kept["sums"].tolist()
    return {
        "decisions": int(count),
        "mean_reward": received / count,
        "expected_reward": expected / count,
        "gap_closed": (expected - random) / (oracle - random) if oracle != random else None,
        "regret": (oracle - expected) / count,
        "actions": _compute_shares(kept["actions"], acts),
    }


def _compute_shares(actions: Mapping[str, int], acts: Sequence[str]) -> dict[str, float]:
    total = sum(actions.values())
    return {action: actions.get(action, 0) / total if total else 0.0 for action in acts}


def _list_judges(judges: Mapping[tuple[str, str | None], int]) -> list[dict[str, Any]]:
    return [
        {"judge": judge, "fallback": fallback, "decisions": count}
        for (judge, fallback), count in sorted(judges.items(), key=lambda item: (-item[1], str(item[0])))
    ]


def _to_number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _to_numbers(values: Array) -> list[float | None]:
    return [_to_number(value) for value in values]

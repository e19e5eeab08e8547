"""How often what may be looked at every day is wrong: gains, experiments, launches.

    python benchmarks/daily_looks.py gain [--runs 1000] [--days 40] [--a-day 250] [--floor 0.02]
    python benchmarks/daily_looks.py experiment [--runs 1000] [--days 60]
    python benchmarks/daily_looks.py launch [--runs 1000] [--days 60]

*gain*: logs of a policy that learns while it serves. K = 5 candidates come each from one of 12 kinds, in the caller's
order, better kinds somewhat sooner; a kind's mean reward lies in [-1, 1] and moves over the day and from day to day;
the policy takes the kind of the highest mean so far, with a uniform share. The report of :mod:`bandstand.service.gain`
is made at the end of every day; it is right in a run if its interval holds the mean of the true gains so far at *every*
look at which it rests on enough effective decisions.

*experiment*: A/A. Users come over the days (a third on the first), return for as long as they like, differ lastingly in
how they reward, and their decisions have a daily cycle in common. The readout is made at the end of every day; an alarm
at any of them is a false one.

*launch*: the ladder 1, 10, 50, 100 % of 100,000 such users, of whom the control earns 0.4 a decision, by a policy that
earns a tenth less, the same, or a tenth more. A user stays with what a smaller share gave them, as in serving, and the
rule of :mod:`bandstand.service.ladder` is asked at the end of every day.
"""

import argparse
import math

import numpy as np
from numpy.typing import NDArray

from bandstand.service.gain import MIN_ESS, build_span
from bandstand.service.ladder import MAX_UNPROVEN_PERCENT, decide_step
from bandstand.service.readout import compare_arms, judge_difference
from bandstand.service.shadow_value import ValueEstimate
from bandstand.store.tables.arms import REWARD, ArmHistory, ArmSums
from bandstand.store.tables.gains import TARGETS, GainDay, compute_terms
from bandstand.store.tables.launches import LaunchPlan

FloatArray = NDArray[np.float64]

CANDIDATES, KINDS = 5, 12
AT_ONCE = 100  # runs that are drawn together
NORMAL_QUANTILE = 1.959963984540054


def play_logs(
    rng: np.random.Generator, runs: int, days: int, a_day: int, floor: float
) -> tuple[FloatArray, FloatArray]:
    """Play some logs at once.

    Returns:
        Sums by run and day, (runs, days, 18), and Σ of the true gain over each target, (runs, days, 2).
    """
    base = rng.uniform(-0.8, 0.8, (runs, KINDS))
    counts, totals = np.ones((runs, KINDS)), np.zeros((runs, KINDS))
    sums, gains = np.zeros((runs, days, 18)), np.zeros((runs, days, 2))
    drift = np.zeros((runs, KINDS))
    row = np.arange(runs)
    for day in range(days):
        drift = 0.9 * drift + rng.normal(0.0, 0.05, (runs, KINDS))
        for step in range(a_day):
            offered = rng.integers(0, KINDS, (runs, CANDIDATES))
            level = 0.1 * math.sin(2.0 * math.pi * step / a_day)
            true = np.clip((base + drift)[row[:, np.newaxis], offered] + level, -1.0, 1.0)
            order = np.argsort(-(true + rng.normal(0.0, 1.0, true.shape)), axis=1)  # the caller knows a little
            offered, true = np.take_along_axis(offered, order, axis=1), np.take_along_axis(true, order, axis=1)
            means = (totals / counts)[row[:, np.newaxis], offered]
            p = np.full((runs, CANDIDATES), floor / CANDIDATES)
            p[row, means.argmax(axis=1)] += 1.0 - floor
            pick = (p.cumsum(axis=1) < rng.random((runs, 1))).sum(axis=1).clip(max=CANDIDATES - 1)
            reward = np.where(rng.random(runs) < (1.0 + true[row, pick]) / 2.0, 1.0, -1.0)
            sums[:, day] += compute_terms(means, p, pick, reward)
            served = (p * true).sum(axis=1)
            gains[:, day] += np.stack([served - true.mean(axis=1), served - true[:, 0]], axis=1)
            kind = offered[row, pick]
            counts[row, kind] += 1.0
            totals[row, kind] += reward
    return sums, gains


def measure_gain(runs: int, days: int, a_day: int, floor: float) -> None:
    """Count in how many logs the interval held the truth at every look, and how often it told anything."""
    held = {target: [0, 0] for target in TARGETS}  # runs that were right, runs that had enough to say
    fixed = {target: [0, 0] for target in TARGETS}  # the usual interval at the last look alone
    looked = {target: [0, 0] for target in TARGETS}  # the usual interval at every look
    told = dict.fromkeys(TARGETS, 0)
    wrong = dict.fromkeys(TARGETS, 0)
    for start in range(0, runs, AT_ONCE):
        sums, gains = play_logs(np.random.default_rng(start), min(AT_ONCE, runs - start), days, a_day, floor)
        cumulative, truth = sums.cumsum(axis=1), gains.cumsum(axis=1)
        for run in range(len(sums)):
            spans = [
                build_span([GainDay(day, "", int(each[0]), *each[1:])], day + 1)
                for day, each in enumerate(cumulative[run].tolist())
            ]
            for at, target in enumerate(TARGETS):
                looks = [
                    (span.targets[target], truth[run, day, at] / span.rewarded)
                    for day, span in enumerate(spans)
                    if span is not None and span.targets[target].expected_ess >= MIN_ESS
                ]
                if not looks:
                    continue
                held[target][1] += 1
                held[target][0] += all((each.low or 0.0) <= gain <= (each.high or 0.0) for each, gain in looks)
                usual = [abs(each.gain - gain) <= NORMAL_QUANTILE * (each.stderr or 0.0) for each, gain in looks]
                fixed[target][1] += 1
                fixed[target][0] += usual[-1]
                looked[target][1] += 1
                looked[target][0] += all(usual)
                told[target] += any(each.verdict != "early" for each, _ in looks)
                wrong[target] += any(
                    each.verdict != "early" and (each.verdict == "more") != (gain > 0.0) for each, gain in looks
                )
    print(f"{runs:,} logs of {days} days, {a_day:,} decisions a day, floor {floor:g}")
    print("over      enough to say  right at every look  usual interval: last look  every look  told by then  wrongly")
    for target in TARGETS:
        (right, enough), (last, _), (every, _) = held[target], fixed[target], looked[target]
        shares = " ".join(f"{each / max(enough, 1):>20.1%}" for each in (right, last, every))
        print(f"{target:8} {enough:>10,} {shares} {told[target]:>12,} {wrong[target]:>8,}")


def play_experiment(
    rng: np.random.Generator, days: int, users: int, *, effect: float = 0.0, share: float = 0.5
) -> list[dict[str, ArmSums]]:
    """Play an experiment; returns its sums at the end of every day.

    Args:
        rng: of the draws.
        days: how many.
        users: how many come in all.
        effect: by how much the second arm is better.
        share: of the users in the second arm.
    """
    arm = rng.random(users) < share
    begins = np.where(rng.random(users) < 1.0 / 3.0, 0, rng.integers(0, days, users))
    stays = rng.geometric(0.1, users)
    often = rng.gamma(0.7, 2.0, users)
    taste = rng.normal(0.0, 0.35, users)
    n, total, decisions = np.zeros(users), np.zeros(users), np.zeros(users)
    found = []
    for day in range(days):
        here = (begins <= day) & (day < begins + stays)
        made = np.where(here, rng.poisson(often), 0)
        rewarded = rng.binomial(made, 0.8)
        mean = np.clip(0.1 + 0.05 * math.sin(day) + taste + effect * arm, -1.0, 1.0)
        happy = rng.binomial(rewarded, (1.0 + mean) / 2.0)
        decisions += made
        n += rewarded
        total += 2.0 * happy - rewarded
        found.append({name: sum_arm(name, decisions, n, total, arm == side) for side, name in enumerate("ab")})
    return found


def sum_arm(name: str, decisions: FloatArray, n: FloatArray, total: FloatArray, mine: NDArray[np.bool_]) -> ArmSums:
    """What an arm's users sum to."""
    d, n, t = decisions[mine], n[mine], total[mine]
    return ArmSums(
        0,
        name,
        REWARD,
        users=int((d > 0).sum()),
        rewarded=int((n > 0).sum()),
        decisions=int(d.sum()),
        n=int(n.sum()),
        total=float(t.sum()),
        nn=int((n * n).sum()),
        nt=float((n * t).sum()),
        tt=float((t * t).sum()),
    )


def measure_experiment(runs: int, days: int) -> None:
    """Count false alarms where the arms are the same, and true ones where they are not."""
    print(f"{runs:,} experiments of {days} days, looked at every day: alarms")
    print("users   effect  lasting interval   the usual one at every look   median day")
    for users in (300, 3_000):
        for effect in (0.0, 0.05, 0.1):
            alarms, usual, when = 0, 0, []
            for run in range(runs):
                looks = play_experiment(np.random.default_rng([users, run]), days, users, effect=effect)
                verdicts = [find_verdict(each) for each in looks]
                first = next((day for day, (verdict, _) in enumerate(verdicts) if verdict != "early"), None)
                alarms += first is not None
                when += [] if first is None else [first + 1]
                usual += any(is_usual for _, is_usual in verdicts)
            median = f"{np.median(when):.0f}" if when else "-"
            print(f"{users:>5,} {effect:>7g} {alarms / runs:>15.1%} {usual / runs:>24.1%} {median:>18}")


def find_verdict(sums: dict[str, ArmSums]) -> tuple[str, bool]:
    """What the readout says, and whether the usual interval of 95 % would have said that there is a difference."""
    difference: ValueEstimate | None = compare_arms(sums["b"], sums["a"])
    verdict = judge_difference(sums["b"], sums["a"], difference)
    enough = min(each.rewarded for each in sums.values()) >= 20  # noqa: PLR2004 (as the readout asks)
    is_usual = (
        difference is not None and enough and abs(difference.value) > NORMAL_QUANTILE * (difference.stderr or 0.0)
    )
    return verdict, is_usual


def play_launch(rng: np.random.Generator, plan: LaunchPlan, days: int, users: int, effect: float) -> tuple[str, float]:
    """Play a launch; returns how it ended (or that it goes on), and the largest share of the users that it got."""
    number, taste, often = rng.random(users), rng.normal(0.0, 0.35, users), rng.gamma(0.7, 1.0, users)
    step, largest = 0, 0.0
    n, total, decisions = np.zeros(users), np.zeros(users), np.zeros(users)
    for day in range(days):
        arm = number < plan.steps[step] / 100.0
        largest = max(largest, plan.steps[step])
        made = rng.poisson(often)
        mean = np.clip(0.4 + 0.05 * math.sin(day) + taste + effect * arm, -1.0, 1.0)
        happy = rng.binomial(made, (1.0 + mean) / 2.0)
        decisions += made
        n += made
        total += 2.0 * happy - made
        sums = {name: sum_arm(name, decisions, n, total, arm == side) for side, name in enumerate(("old", "new"))}
        decided = decide_step(plan, step, ArmHistory({REWARD: sums}))
        if decided.move == "rollback":
            return "back", largest
        if decided.move == "advance":
            step += 1
            if plan.steps[step] >= 100.0:  # noqa: PLR2004 (percent)
                return "through", 100.0
            n, total, decisions = np.zeros(users), np.zeros(users), np.zeros(users)
    return "waits", largest


def measure_launch(runs: int, days: int) -> None:
    """Count how launches end."""
    plan = LaunchPlan(policy="new", control="old", steps=(1.0, 10.0, 50.0, 100.0), min_decisions=500)
    print(f"{runs:,} launches of at most {days} days over 100,000 users")
    print("the policy earns   taken back   before a fifth of the users   went through   still waits")
    for effect in (-0.04, 0.0, 0.04):
        ends = [play_launch(np.random.default_rng([7, run]), plan, days, 100_000, effect) for run in range(runs)]
        back = [largest for end, largest in ends if end == "back"]
        early = sum(largest < MAX_UNPROVEN_PERCENT for largest in back)
        through, waits = (sum(end == name for end, _ in ends) for name in ("through", "waits"))
        shares = f"{len(back) / runs:>11.1%} {early / runs:>29.1%} {through / runs:>14.1%} {waits / runs:>13.1%}"
        print(f"{effect / 0.4:>+16.0%} {shares}")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("gain", "experiment", "launch"))
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--days", type=int, default=40)
    parser.add_argument("--a-day", type=int, default=250)
    parser.add_argument("--floor", type=float, default=0.02)
    asked = parser.parse_args()
    if asked.what == "gain":
        measure_gain(asked.runs, asked.days, asked.a_day, asked.floor)
    elif asked.what == "experiment":
        measure_experiment(asked.runs, asked.days)
    else:
        measure_launch(asked.runs, asked.days)


if __name__ == "__main__":
    main()

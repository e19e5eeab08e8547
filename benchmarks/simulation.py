"""How fast policies meet personas in this process, and what keeping every decision costs.

    python benchmarks/simulation.py [--seeds 5] [--users 14] [--days 30] [--rounds 3] [--policy NAME …]

Prints, for each policy alone and for all side by side, decisions a second by the clock and by the processor time of
this one process, at `--events none` and `all`; the best of the rounds. The clock is what a user waits for; on a machine
that is busy with other things, only the processor time says what the code costs. ``linucb-v2-alone`` is ``linucb-v2``
without the population prior, whose refits serving makes beside the requests and a simulation has to wait for.
"""

import argparse
import asyncio
import tempfile
import time
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from bandstand.bandit.catalogue import Catalogue
from bandstand.simulate.judges.judge import RuleJudge
from bandstand.simulate.plan import Events, Plan
from bandstand.simulate.run.runner import LocalPlayers, Row, Runner, configure_gc
from bandstand.store.tables.run_table import RunClaim, RunProgress
from bandstand.store.tables.simulations import Simulations

_DEFAULT = ("linucb-v1", "egreedy-v1", "linucb-v2-alone", "linucb-v2")
_ALONE = {"kind": "linucb", "schema": "tips-v2", "alpha": 0.5, "floor": 0.02, "prior": "standard"}


class Journal:
    """Writes a run as the command does."""

    def __init__(self, simulations: Simulations, claim: RunClaim) -> None:
        self._simulations = simulations
        self._claim = claim

    def save(self, plays: list[Row], events: list[Row], done: int, summary: str) -> bool:
        """Write what was played since the last time."""
        progress = RunProgress(done=done, summary=summary)
        return self._simulations.save(self._claim, progress, plays=plays, events=events, now=time.time())


def rates(plan: Plan, catalogue: Catalogue, directory: Path) -> tuple[float, float]:
    """Return decisions a second, by the clock and by processor time."""
    simulations = Simulations(directory)
    run = simulations.create(plan.to_json(), plan.total, origin="command", client="-", now=time.time())
    claim = simulations.claim(run, now=time.time())
    assert claim is not None  # noqa: S101 (nobody else is there)
    runner = Runner(plan, LocalPlayers(catalogue.policies), RuleJudge(), journal=Journal(simulations, claim))
    clock, processor = time.perf_counter(), time.process_time()
    asyncio.run(runner.run(asyncio.Event()))
    taken = time.perf_counter() - clock, time.process_time() - processor
    simulations.delete(run)
    return plan.total / taken[0], plan.total / taken[1]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--users", type=int, default=14)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--policy", action="append", dest="policies")
    arguments = parser.parse_args()
    configure_gc()  # as the command does
    shipped = tomllib.loads(files("bandstand").joinpath("defaults.toml").read_text(encoding="utf-8"))
    catalogue = Catalogue.parse(shipped, {"policies": {"linucb-v2-alone": _ALONE}})
    names: Sequence[str] = arguments.policies or _DEFAULT
    contests = [(name,) for name in names] + ([tuple(names)] if len(names) > 1 else [])
    print("| policies | events | decisions/s | decisions/s of processor time |\n|---|---|---|---|", flush=True)
    for policies in contests:
        fastest: dict[Events, float] = {}
        events: tuple[Events, ...] = ("none", "all")
        for kept in events:
            plan = Plan(
                policies=policies,
                personas=arguments.users,
                days=arguments.days,
                seeds=arguments.seeds,
                events=kept,
            )
            with tempfile.TemporaryDirectory() as directory:
                measured = [rates(plan, catalogue, Path(directory)) for _ in range(arguments.rounds)]
            clock, processor = (max(each) for each in zip(*measured, strict=True))
            fastest[kept] = processor
            print(f"| {', '.join(policies)} | {kept} | {clock:,.0f} | {processor:,.0f} |", flush=True)
        cost = 1e6 / fastest["all"] - 1e6 / fastest["none"]
        print(f"| | all costs | {cost:.1f} µs a decision | ×{fastest['none'] / fastest['all']:.2f} |", flush=True)


if __name__ == "__main__":
    main()

"""Events on the wire whose process is killed at each of its commits.

    python -m tests.personalizer.killed_events FOLDER

Every trial is a process that plays a scenario until it is killed before or after its n-th commit, and another one that
repeats the call which was not answered, as a client does, and goes on to the end. A line of JSON says what was taught.
"""

import asyncio
import itertools
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bandstand.store.sqlite import writer
from bandstand.store.sqlite.transaction import transaction
from tests.personalizer.timed_wire import DEFAULT, SETTINGS, WAIT, TimedWire
from tests.service.given import Service, on_disk
from tests.store.given import NOON

When = Literal["before", "after"]


class Step(NamedTuple):
    """A call, and seconds after the rank call at which it comes; ``close`` looks for windows that have ended."""

    at: float
    call: Literal["rank", "defer", "reward", "activate", "close"]
    value: float = 0.0
    request_id: str = ""


class Scenario(NamedTuple):
    """Calls in order, and how often everybody's model is to be taught by them, and what in all."""

    steps: Sequence[Step]
    expected: tuple[int, float]
    aggregation: str = "first"


REWARD, ACTIVATE = Step(10.0, "reward", 0.75, "first"), Step(20.0, "activate")
LATE = [
    Step(WAIT, "close"),
    Step(WAIT + 1, "activate"),
    Step(WAIT + 1, "reward", -1.0, "late"),
    Step(WAIT + 2, "close"),
]
MOST_COMMITS = 30
SCENARIOS = {
    "shown and rewarded": Scenario([Step(0.0, "rank"), REWARD, *LATE], (1, 0.75)),
    "shown and silent": Scenario([Step(0.0, "rank"), *LATE], (1, DEFAULT)),
    "held and rewarded": Scenario([Step(0.0, "defer"), REWARD, *LATE], (0, 0.0)),
    "held and silent": Scenario([Step(0.0, "defer"), *LATE], (0, 0.0)),
    "activated and rewarded": Scenario([Step(0.0, "defer"), Step(5.0, "activate"), REWARD, ACTIVATE, *LATE], (1, 0.75)),
    "rewarded, then activated": Scenario([Step(0.0, "defer"), REWARD, ACTIVATE, *LATE], (1, 0.75)),
    "activated and silent": Scenario([Step(0.0, "defer"), ACTIVATE, *LATE], (1, DEFAULT)),
    "a sum with retries": Scenario(
        [
            Step(0.0, "rank"),
            Step(1.0, "reward", 0.25, "a"),
            Step(2.0, "reward", 0.25, "a"),
            Step(3.0, "reward", 0.5, "b"),
            *LATE,
        ],
        (1, 0.75),
        "sum",
    ),
}


async def play(scenario: Scenario, folder: Path) -> tuple[int, float]:
    """Play what of a scenario was not answered yet; returns what was taught then."""
    answered = folder / "answered"
    done = len(answered.read_bytes()) if answered.exists() else 0
    service = Service(on_disk(folder), reward_settings=SETTINGS[scenario.aggregation])
    await service.deployment.store.open()
    wire = TimedWire(service)
    for step in scenario.steps[done:]:
        service.clock.now = NOON + step.at
        match step.call:
            case "rank" | "defer":
                await wire.rank("e", deferred=step.call == "defer")
            case "reward":
                await wire.reward("e", step.value, step.request_id)
            case "activate":
                await wire.activate("e")
            case "close":
                await wire.pass_time(0.0)
        with answered.open("ab") as file:
            file.write(b".")
    count, total = await wire.taught()
    await service.deployment.store.close()
    return int(count), total


def run_apart(work: Callable[[], Coroutine[Any, Any, object]]) -> int:
    """Run it in a process of its own; returns the signal that ended it, 0 for none."""
    child = os.fork()
    if child == 0:
        asyncio.run(work())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def kill_at(commit: int, when: When) -> None:
    """Have this process killed before or after one of its commits."""
    numbers = itertools.count(1)

    @contextmanager
    def commit_or_die(connection: sqlite3.Connection, *, commit: bool = True) -> Iterator[None]:
        number = next(numbers)
        with transaction(connection, commit=commit):
            yield
            if (number, when) == (wanted, "before"):
                os.kill(os.getpid(), signal.SIGKILL)
        if (number, when) == (wanted, "after"):
            os.kill(os.getpid(), signal.SIGKILL)

    wanted = commit
    writer.transaction = commit_or_die  # type: ignore[attr-defined]  # it is the writer's own name for it


def main(folder: Path) -> None:
    """Every scenario, killed at each of its commits."""
    numbers = itertools.count()
    for name, scenario in SCENARIOS.items():
        for commit, when in itertools.product(range(1, MOST_COMMITS), ("before", "after")):
            state = folder / str(next(numbers))
            state.mkdir()

            async def play_until_killed(
                scenario: Scenario = scenario,
                state: Path = state,
                commit: int = commit,
                when: When = when,  # type: ignore[assignment]  # one of the two
            ) -> None:
                kill_at(commit, when)
                await play(scenario, state)

            async def go_on(scenario: Scenario = scenario, state: Path = state) -> None:
                taught = await play(scenario, state)
                (state / "taught").write_text(json.dumps(taught))

            killed_by = run_apart(play_until_killed)
            if not killed_by:
                break  # it has no such commit
            run_apart(go_on)
            taught = json.loads((state / "taught").read_text())
            trial = {"scenario": name, "commit": commit, "when": when, "signal": killed_by}
            print(json.dumps({**trial, "taught": taught, "expected": scenario.expected}), flush=True)  # noqa: T201 (what the test reads)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

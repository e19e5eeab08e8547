"""Auto optimization: when it looks, what it applies, and who has the last word."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bandstand.personalizer.auto_optimization import MIN_EVENTS, AutoOptimizer, find_better, find_due
from bandstand.personalizer.configuration import ServiceConfiguration
from bandstand.personalizer.evaluation_request import EvaluationCall
from bandstand.personalizer.policy_arguments import PolicyArguments

HOUR, DAY = 3_600.0, 86_400.0
START = 20_000 * DAY
ON = ServiceConfiguration(
    optimizes=True, optimization_frequency="P1D", optimization_start="2024-10-04T00:00:00Z", edited=START - HOUR
)
NOTE = {
    "custom": [],
    "experiments": [{"name": f"Hyper{n}", "arguments": f"--cb_explore_adf --epsilon 0.{n}"} for n in (1, 2)],
}


def build_report(online: float, *means: float, stderr: float = 0.01, n: int = MIN_EVENTS) -> dict[str, Any]:
    """An evaluation of what served and of experiments, by their mean rewards."""
    names = ["baseline", "random", *(f"hyper-{number}" for number in range(len(means)))]
    estimate = {"estimator": "ips", "n": n, "stderr": stderr, "mean_weight": 1.0}
    return {
        "log": {"decisions": n, "mean_reward": online, "stderr": stderr},
        "policies": [
            {"policy": name, "estimates": [{**estimate, "value": value}], "weights": {"0": 0}}
            for name, value in zip(names, (0.0, 0.0, *means), strict=True)
        ],
    }


class World:
    """A loop whose clock and evaluations are the test's."""

    def __init__(self, configuration: ServiceConfiguration = ON) -> None:
        self.now = START
        self.configuration = configuration
        self.made: list[EvaluationCall] = []
        self.listed: list[Any] = []
        self.applied: list[tuple[str, str | None]] = []
        queue = SimpleNamespace(get=self.get)
        runs = SimpleNamespace(list_all=self.list_all, read_note=lambda run: run.note, queue=queue)
        evaluations, admin = SimpleNamespace(start=self.start, runs=runs), SimpleNamespace(change_policy=self.apply)
        self.optimizer = AutoOptimizer(cast("Any", self), cast("Any", evaluations), cast("Any", admin))

    def clock(self) -> float:
        return self.now

    async def list_all(self) -> list[Any]:
        return self.listed[::-1]

    async def get(self, run: int) -> Any:
        return self.listed[run]

    async def start(self, asked: EvaluationCall, client: str) -> None:
        assert client == "auto-optimization"
        note = {"id": asked.id, "kind": asked.kind, **NOTE}
        run = {"id": len(self.listed), "created": self.now, "state": "queued", "summary": None, "note": note}
        self.listed.append(SimpleNamespace(**run))
        self.made.append(asked)

    async def apply(self, asked: PolicyArguments, client: str, evaluation: str | None) -> None:
        assert client == "auto-optimization"
        self.applied.append((asked.name, evaluation))
        self.configuration = replace(self.configuration, edited=self.now)

    async def look(self, *after: float) -> None:
        for seconds in after:
            self.now += seconds
            await self.optimizer.begin_or_apply()

    def finish(self, *means: float) -> None:
        self.listed[-1].state, self.listed[-1].summary = "done", json.dumps(build_report(*means))


@pytest.fixture
def world() -> World:
    return World()


async def test_each_span_is_looked_at_once(world: World) -> None:
    await world.look(-1.0)
    assert world.made == [], "it has not begun"
    await world.look(1.0, HOUR, HOUR)
    assert [(each.start, each.end, each.kind) for each in world.made] == [(START - DAY, START, "Auto")]
    assert {each.name for each in world.made[0].experiments} == {f"Hyper{number}" for number in range(1, 6)}
    await world.look(DAY, DAY)
    assert [each.end for each in world.made] == [START, START + DAY, START + 2 * DAY]


async def test_a_better_policy_is_applied_once(world: World) -> None:
    await world.look(0.0, HOUR)
    assert world.applied == [], "it is not evaluated yet"
    world.finish(0.2, 0.3, 0.4)
    await world.look(60.0, 60.0, HOUR)
    assert world.applied == [("Hyper2", world.made[0].id)]


async def test_what_may_be_chance_is_not_applied(world: World) -> None:
    await world.look(0.0)
    world.finish(0.2, 0.21, 0.22)
    await world.look(60.0)
    assert world.applied == []


async def test_who_changes_the_loop_meanwhile_has_the_last_word(world: World) -> None:
    await world.look(0.0)
    world.finish(0.2, 0.3, 0.4)
    world.configuration = replace(ON, edited=world.now + 1)
    await world.look(60.0)
    assert world.applied == []
    world.configuration = replace(ON, edited=START + DAY + 1)
    await world.look(DAY)
    assert len(world.made) == 1, "it was changed after the span's end"
    await world.look(DAY)
    assert len(world.made) == 2


async def test_nothing_is_looked_at_where_it_is_off() -> None:
    world = World(replace(ON, optimizes=False))
    await world.look(0.0, DAY)
    assert world.made == []


def test_an_experiment_on_few_events_is_no_proof() -> None:
    better = find_better(build_report(0.2, 0.3, 0.4), NOTE)
    assert better is not None
    assert better.name == "Hyper2"
    assert find_better(build_report(0.2, 0.3, 0.4, n=MIN_EVENTS - 1), NOTE) is None
    assert find_better(build_report(0.2), {"custom": [], "experiments": []}) is None


@pytest.mark.parametrize(("later", "due"), [(0.0, 0.0), (DAY - 1, 0.0), (DAY, DAY), (10.5 * DAY, 10 * DAY)])
def test_it_is_due_at_the_start_and_after_each_frequency(later: float, due: float) -> None:
    assert find_due(ON, START + later) == (START + due, DAY)

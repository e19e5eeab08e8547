"""Typed uses of the client for threads: checked, never run. An ignore that a checker does not need is an error."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bandstand_client import (
    Bandstand,
    Breaker,
    Candidate,
    Decision,
    DecisionRef,
    Event,
    FieldFault,
    OutboxCounts,
    OverloadedError,
    ProblemError,
    Retry,
    Rewarded,
    TurnTaken,
)
from bandstand_client.answers import Generation, Judgement, LoopCondition, Receipt, Tip, UserStats
from typing_extensions import assert_type


@dataclass(frozen=True)
class Article:
    """Something of the product's own, with an id."""

    id: str
    title: str


@dataclass(frozen=True)
class Song:
    """Something of the product's own, without."""

    number: int


def count_event(event: Event) -> None:
    """Where a product's metrics would be."""
    assert_type(event.seconds, float)


def show(client: Bandstand) -> str:
    """The pick has the type of the candidates."""
    articles = [Article("a", "A"), Article("b", "B")]
    decision = client.score("ada", articles, context={"hour_of_day": 9})
    assert_type(decision, Decision[Article])
    assert_type(client.score("ada", ["tea", "coffee"]).pick, str)
    assert_type(client.score("ada", [{"id": "tea"}, {"id": "coffee"}]).pick, dict[str, str])
    assert_type(client.score("ada", [Candidate("tea")]).pick, Candidate)
    assert_type(client.score("ada", [Song(1)], encode=lambda song: {"id": str(song.number)}).pick, Song)
    assert_type(decision.propensity, float | None)
    return decision.pick.title


def reward(client: Bandstand, decision_id: str) -> None:
    """Rewards, reactions and turns."""
    decision = client.decision(decision_id)
    assert_type(decision, DecisionRef)
    assert_type(decision.reward(0.5), Rewarded)
    assert_type(decision.react("done", dwell=45), Rewarded)
    decision.react("done", dwell=timedelta(seconds=45))
    assert_type(decision.turn("a", "b", "c"), TurnTaken)
    assert_type(decision.turn("a", "b", "c", wait=True), TurnTaken | Judgement)
    assert_type(decision.get_receipt(), Receipt)


def operate(client: Bandstand) -> None:
    """What operators call."""
    assert_type(client.stats("ada"), UserStats)
    assert_type(client.stats("ada").theta, tuple[float, ...])
    assert_type(client.deployment_stats().loop.all, LoopCondition)
    generation = client.generate("ada", [{"id": "rent", "title": "Pay the rent"}])
    assert_type(generation, Generation)
    assert_type(client.score("ada", generation.candidates).pick, Tip)


def keep(client: Bandstand, path: Path) -> OutboxCounts:
    """An outbox takes decisions and ids."""
    with client.outbox(path, when_full="drop") as outbox:
        outbox.reward(client.score("ada", ["tea"]), 0.5)
        outbox.react("some-id", "snooze")
    return outbox.counts


def build() -> Bandstand:
    """All options."""
    return Bandstand(
        "http://127.0.0.1:8000",
        "s3cret",
        score_deadline=0.1,
        deadline=5.0,
        retry=Retry(tries=2),
        breaker=Breaker(failures=3),
        on_event=count_event,
        verify=True,
    )


def handle(client: Bandstand) -> float:
    """Errors have types."""
    try:
        client.health()
    except OverloadedError as error:
        return error.retry_after_s
    except ProblemError as error:
        assert_type(error.errors, tuple[FieldFault, ...])
    return 0.0

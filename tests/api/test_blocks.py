"""A policy with a block of weights for each arm, from a definition to the wire, over restarts and from the ledger."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.given import Service, run_service

DEFINITION = """
[schemas.colours]
version = 1
intercept = true
block = { source = "candidate.colour", values = ["red", "green", "blue"] }

[[schemas.colours.features]]
name = "hour"
source = "context.hour_of_day"
encoding = "cyclic"
period = 24
type = "integer"
default = 12
minimum = 0
maximum = 23

[policies.shop-v1]
kind = "linucb"
schema = "colours"
alpha = 0.5
variance = 0.5
noise = 0.2
"""
COLOURS = ("red", "green", "blue", "pink")
CANDIDATES: list[dict[str, Any]] = [
    {"id": colour, "content": "", "source": "shop", "source_id": None, "features": {"colour": colour}}
    for colour in COLOURS
]


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    config = tmp_path / "shop.toml"
    config.write_text(DEFINITION, "utf-8")
    return {"bandstand_config": config, "active_policy": "shop-v1"}


async def _teach_colours(service: Service, rounds: int) -> None:
    """Green is wanted in the morning, blue in the evening."""
    for number in range(rounds):
        hour, wanted = ((8, "green"), (20, "blue"))[number % 2]
        scored = await service.score(candidates=CANDIDATES, context={"hour_of_day": hour})
        liked = 1.0 if scored["tip_id"] == wanted else -0.5
        assert (await service.reward(decision_id=scored["decision_id"], reward=liked))["applied"]


async def _list_picks(service: Service) -> list[str]:
    asked = [await service.score(candidates=CANDIDATES, context={"hour_of_day": hour}) for hour in (8, 20)]
    return [scored["tip_id"] for scored in asked]


async def test_each_arm_has_weights_of_its_own(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with run_service(tmp_path / "state", **settings) as service:
        await _teach_colours(service, 40)
        assert await _list_picks(service) == ["green", "blue"]
        stats = await service.stats()
        theta = dict(zip(stats["feature_labels"], stats["theta"], strict=True))
        assert list(theta)[:4] == ["red:intercept", "red:hour_sin", "red:hour_cos", "green:intercept"]
        assert len(theta) == 12  # the listed colours and the others together
        assert theta["green:hour_sin"] > 0 > theta["blue:hour_sin"]
        stranger = await service.stats("nobody")
        assert (stranger["feature_labels"], stranger["theta"]) == (stats["feature_labels"], [0.0] * 12)


async def test_what_each_arm_was_taught_survives_restarts_and_lost_documents(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    state = tmp_path / "state"
    async with run_service(state, **settings) as service:
        await _teach_colours(service, 12)
        taught = (await service.stats())["theta"]
    async with run_service(state, **settings) as service:
        assert (await service.stats())["theta"] == pytest.approx(taught, abs=1e-12)
        await _teach_colours(service, 6)
        taught = (await service.stats())["theta"]
    for document in (state / "users").glob("??/*.json"):
        document.unlink()
    async with run_service(state, **settings) as service:
        assert (await service.stats())["theta"] == pytest.approx(taught, abs=1e-9)


async def test_a_legacy_reward_teaches_the_block_it_names(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with run_service(tmp_path / "state", **settings) as service:
        await service.reward(user_id="ada", tip_id="x", reward=1.0, features={"hour_of_day": 8, "colour": "blue"})
        stats = await service.stats()
        theta = dict(zip(stats["feature_labels"], stats["theta"], strict=True))
        assert [label for label, weight in theta.items() if weight] == [
            "blue:intercept",
            "blue:hour_sin",
            "blue:hour_cos",
        ]


async def test_the_history_shows_the_raw_values(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with run_service(tmp_path / "state", **settings) as service:
        await service.score(candidates=CANDIDATES[1:2])
        (scored,) = await service.history()
        assert scored["features"] == {"hour_of_day": 12, "colour": "green"}
        assert '"colour"' in (await service.get("/openapi.json")).text

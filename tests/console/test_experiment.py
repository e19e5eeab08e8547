"""The answers of the console: whether it pays, who wins, and how a launch goes."""

import asyncio
from pathlib import Path
from typing import Any

from tests.console.given import Person, visit_console


async def live(person: Person, users: int) -> None:
    """Everybody decides once and is content."""
    for number in range(users):
        made = await person.service.score(f"user-{number}")
        brought = {"clicks": float(number % 2)}
        await person.service.reward(
            decision_id=made["decision_id"], reward=0.5 if number % 3 else -0.5, metrics=brought
        )


async def test_without_an_experiment_it_says_how_to_begin_one(person: Person) -> None:
    assert "EXPERIMENT=linucb-v2:50,thompson-v1:50" in (await person.open("/experiment")).text


async def test_an_experiment_and_a_holdout_are_read_out(tmp_path: Path) -> None:
    settings = {"experiment": "linucb-v2:50,thompson-v1:50", "holdout": "0.3", "holdout_control": "first"}
    async with visit_console(tmp_path, **settings) as person:
        await live(person, 40)
        page = await person.open("/experiment")
        assert page.status == 200
        assert "Who wins?" in page.text
        assert "Too early to tell" in page.text
        assert "30.0 % of the users get the caller's first candidate" in page.text
        async with asyncio.timeout(60):  # what was committed is summed within seconds
            while not {"linucb-v2", "thompson-v1"} <= {row[0] for row in page.rows() if row[1:2] == ["clicks"]}:
                await asyncio.sleep(0.05)
                page = await person.open("/experiment")
        assert "What rewards brought by name" in page.text
        figures = (await person.open("/experiment.json")).response.json()
        assert figures.keys() == {"experiment", "holdout"}
        overview = await person.open()
        assert "By the 30.0" in overview.text
        assert "Does it pay?" in overview.text
        assert (await person.open("/gain.json")).response.json().keys() == {"random"}
        served = (await person.client.get("/stats")).json()["policies"]
        assert {"first-v1", "linucb-v2", "thompson-v1"} == set(served)


async def test_a_launch_is_begun_held_and_taken_back_from_its_page(person: Person) -> None:
    page = await person.open("/policies/launch", policy="thompson-v1")
    refused = await person.send(
        "/policies/launch", policy="thompson-v1", steps="50, 20", min_decisions="10", token=page.token
    )
    assert refused.status == 409
    nonsense = await person.send(
        "/policies/launch", policy="thompson-v1", steps="half", min_decisions="10", token=page.token
    )
    assert nonsense.status == 422
    for metric, bound, words in (
        ("revenue", "much", "the bound of revenue must be a number"),
        ("revenue", "", "the bound of revenue must be a number"),
        ("", "0.1", "a bound is given without its metric"),
    ):
        given = {"steps": "50, 100", "min_decisions": "10", "metric": metric, "bound": bound, "token": page.token}
        wrong = await person.send("/policies/launch", policy="thompson-v1", **given)
        assert (wrong.status, words in wrong.text) == (422, True), (metric, bound)
        assert f'value="{metric or bound}"' in wrong.html, "what was filled in stays"
    begun = await person.send(
        "/policies/launch",
        policy="thompson-v1",
        steps="50, 100",
        min_decisions="10",
        metric=["reward", "revenue", ""],
        bound=["-0.5", "2.5", ""],
        token=page.token,
    )
    assert begun.status == 303
    page = await person.open("/policies/launch", policy="thompson-v1")
    assert "back where reward is surely below \N{MINUS SIGN}0.50; back where revenue is surely below 2.50" in page.text
    assert "50 % of the users have it" in page.text
    assert "is being launched" in (await person.open("/policies")).text
    for action, words in (("hold", "It is held"), ("resume", "The next step waits"), ("rollback", "It was taken back")):
        sent = await person.send(f"/policies/launch/{action}", policy="thompson-v1", token=page.token)
        assert sent.status == 303, action
        assert words in (await person.open("/policies/launch", policy="thompson-v1")).text
    assert (await person.send("/policies/launch/advance", policy="thompson-v1", token=page.token)).status == 409
    await person.service.reward(decision_id=(await person.service.score("ada"))["decision_id"], reward=0.5)
    await person.client.post("/reset/ada")
    await person.client.post("/policies/first-v1/promote")
    figure: dict[str, Any] = {}
    marks: list[dict[str, Any]] = []
    async with asyncio.timeout(60):  # what was committed is summed within seconds
        while not marks:
            await asyncio.sleep(0.05)
            figure = (await person.open("/gain.json")).response.json()["random"]
            marks = [trace for trace in figure["data"] if trace.get("name") == "what changed"]
    told = (
        "the launch of thompson-v1 came to 50 %",
        "rolled back",
        "first-v1 became the active",
        "was reset",
    )
    assert all(words in marks[0]["text"][0] for words in told)
    assert len(figure["layout"]["annotations"]) == 1
    assert "first-v1 became the active policy" in (await person.open()).text

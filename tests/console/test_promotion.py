"""Promotion at the console: asked for, done, undone, refused."""

from pathlib import Path

from tests.api.given import API_KEYS
from tests.console.given import ADMIN, Person, visit_console


async def active(person: Person) -> str:
    return str((await person.service.get("/policies")).json()["active"])


async def test_a_policy_is_promoted_and_gone_back_from(tmp_path: Path) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS, key=ADMIN) as person:
        await person.log_in()
        asked = await person.open("/policies/promote", policy="thompson-v1")
        assert "instead of linucb-v2" in asked.text
        assert await active(person) == "linucb-v2", "looking at the question does nothing"
        done = await person.send("/policies/promote", policy="thompson-v1", token=asked.token)
        assert done.response.headers["location"] == "/console/policies?done=promoted"
        assert await active(person) == "thompson-v1"
        page = await person.open("/policies", done="promoted")
        assert "by ops" in page.text
        assert "promoted thompson-v1 instead of linucb-v2" in page.text
        back = await person.send("/policies/demote", policy="thompson-v1", token=page.token)
        assert back.status == 303
        assert await active(person) == "linucb-v2"


async def test_where_a_setting_says_which_is_active_no_promotion_is_offered(tmp_path: Path) -> None:
    async with visit_console(tmp_path, active_policy="linucb-v1") as person:
        page = await person.open("/policies")
        assert "ACTIVE_POLICY" in page.text
        assert "Promote" not in page.text
        token = (await person.open("/prompts")).token
        for path in ("/policies/promote", "/policies/demote"):
            refused = await person.send(path, policy="linucb-v1", token=token)
            assert refused.status == 409
            assert "Nothing was changed" in refused.text


async def test_what_is_not_configured_cannot_be_promoted(person: Person) -> None:
    assert (await person.open("/policies/promote", policy="nothing-v9")).status == 404
    token = (await person.open("/prompts")).token
    assert (await person.send("/policies/promote", policy="nothing-v9", token=token)).status == 404


async def test_an_experiment_is_shown_with_its_arms(tmp_path: Path) -> None:
    async with visit_console(tmp_path, experiment="linucb-v2:90,first-v1:10") as person:
        for number in range(5):
            await person.service.score(f"user-{number}")
        page = await person.open("/policies")
        arms = {row[0]: row[1:3] for row in page.rows() if row[0] in {"linucb-v2", "first-v1"}}
        assert arms["linucb-v2"][0].startswith("90.0")
        assert sum(int(users) for _, users in arms.values()) == 5

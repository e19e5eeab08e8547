"""``POST /reactions/reapply``, and a loop with a table of its own."""

from pathlib import Path

from tests.api.given import Service, read_ok, read_problem, run_service

CONFIG = """
[rewards.reactions]
name = "shop"
version = 3
rules = { buy = 1.0, hide = -1.0 }
"""


async def test_under_the_contract_s_table_nothing_is_revised(service: Service) -> None:
    decision = (await service.score())["decision_id"]
    await service.reward(decision_id=decision, reaction={"action": "dismiss"})
    answer = read_ok(await service.post("/reactions/reapply", {"dry_run": False}))
    assert answer["table"]["name"] == "contract-v1"
    assert (answer["reactions"], answer["unchanged"], answer["revised"], answer["dry_run"]) == (1, 1, 0, False)
    assert read_ok(await service.post("/reactions/reapply", {}))["dry_run"] is True
    read_problem(await service.post("/reactions/reapply", {"until": 1}), 422, "invalid-request", "body")


async def test_a_table_of_one_s_own_says_which_actions_there_are(tmp_path: Path) -> None:
    config = tmp_path / "shop.toml"
    config.write_text(CONFIG, encoding="utf-8")
    async with run_service(tmp_path / "state", bandstand_config=config) as service:
        decision = (await service.score())["decision_id"]
        refused = await service.post("/reward", {"decision_id": decision, "reaction": {"action": "dismiss"}})
        read_problem(refused, 422, "invalid-request", "reaction.action")
        taught = await service.reward(decision_id=decision, reaction={"action": "buy"})
        assert (taught["reward"], taught["applied"]) == (1.0, True)

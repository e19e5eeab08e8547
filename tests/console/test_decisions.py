"""The receipt: what was shown and why, what came of it, and the same as JSON."""

from tests.console.given import Person
from tests.console.test_judge import TURN, send_turn


async def test_a_receipt_says_what_each_feature_adds_and_what_the_reward_moved(person: Person) -> None:
    decision = await person.service.score("ada", policy="linucb")
    await person.service.reward(decision_id=decision["decision_id"], reward=1.0)
    page = await person.open("/decision", id=decision["decision_id"])
    told = (await person.open("/decision.json", id=decision["decision_id"])).response.json()
    candidates = {each["tip_id"]: each for each in told["candidates"]}
    assert f"ada was shown {candidates[told['tip_id']]['content']}" in page.text
    rows = page.rows()
    start = next(at for at, row in enumerate(rows) if row[-1] == "Mean now")
    for row in rows[start + 1 : start + 1 + len(candidates)]:
        *parts, mean = (float(cell.replace("−", "-")) for cell in row[1:] if cell != "–")
        assert abs(sum(parts) - mean) < 0.005, "the parts make up the mean, but for their last digits"
        assert mean == round(candidates[row[0].split()[0]]["explanation"]["mean"], 3)
    assert "It moved" in page.text
    assert "It earned 1.00." in page.text
    api = (await person.service.get(f"/decisions/{decision['decision_id']}", explain="true")).json()
    assert told.keys() == api.keys(), "what is copied is what the API answers"
    assert [each.keys() for each in told["candidates"]] == [each.keys() for each in api["candidates"]]
    assert {name: told[name] for name in told if name != "candidates"} == {
        name: api[name] for name in api if name != "candidates"
    }


async def test_a_judged_turn_is_quoted(person: Person) -> None:
    judgement = await send_turn(person)
    page = await person.open("/user", id="ada")
    (turn,) = {link for link in page.links if link.startswith("/console/judgement")}
    assert turn.endswith(judgement["judgement_id"])
    (address,) = {link for link in page.links if link.startswith("/console/decision")}
    receipt = await person.open(address.removeprefix("/console"))
    for words in TURN.values():
        assert words in receipt.text


async def test_a_decision_that_is_none_is_nowhere(person: Person) -> None:
    for path in ("/decision", "/decision.json", "/decision/ready.json"):
        assert (await person.open(path, id="nothing")).status == 404, path

"""The page of policies."""

from tests.console.given import Person


async def test_every_configured_policy_is_listed_with_what_it_did(person: Person) -> None:
    for number in range(3):
        decision = await person.service.score("ada", policy="egreedy")
        if number:
            await person.service.reward(decision_id=decision["decision_id"], reward=0.5)
    page = await person.open("/policies")
    rows = {row[0]: row[1:] for row in page.rows()[1:]}
    assert rows["linucb-v2 active"][0] == "0"
    known = next(cells for name, cells in rows.items() if name.startswith("egreedy-v1"))
    assert (known[0], known[2], known[3]) == ("3", "2", "0.500")
    listed = (await person.service.get("/policies")).json()["policies"]
    assert len(rows) == len(listed)

"""The page of policies."""

from pathlib import Path

from tests.console.given import Person, visit_console


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


async def test_shadow_and_live_stand_side_by_side(tmp_path: Path) -> None:
    async with visit_console(tmp_path, shadow="thompson-v1") as person:
        ids = [(await person.service.score(f"user-{number}"))["decision_id"] for number in range(3)]
        for decision_id in ids:
            await person.service.reward(decision_id=decision_id, reward=0.25)
        page = await person.open("/policies")
        assert any(row[0] == "thompson-v1 shadow" for row in page.rows())
        (shadow,) = [row for row in page.rows() if row[0].startswith("thompson-v1") and "shadow" not in row[0]]
        assert shadow[0].endswith("too few effective decisions yet"), "three are too few to be believed"
        assert (shadow[1], shadow[3]) == ("3", "3")
        assert shadow[4].startswith("0.250")
        receipt = await person.open("/decision", id=ids[0])
        assert "Would have picked" in receipt.text


async def test_without_a_shadow_none_is_spoken_of(person: Person) -> None:
    assert "shadow" not in (await person.open("/policies")).text

"""The page of what was shown: tables of picks, a search that says what it looked at, and empty states that lead on."""

from tests.api.given import TWO
from tests.console.given import Person


async def test_it_says_what_gets_picked_and_finds_what_was_shown(person: Person) -> None:
    empty = await person.open("/shown")
    assert "bandstand demo" in empty.text
    made = [await person.service.score(f"user-{number}", ranking=True) for number in range(3)]
    await person.service.reward(decision_id=made[0]["decision_id"], reward=0.5)
    page = await person.open("/shown")
    assert "Of the newest 3 decisions" in page.text
    [row, *_] = [row for row in page.rows() if row[0] == made[0]["tip_id"]]
    assert row[1] == str(sum(each["tip_id"] == made[0]["tip_id"] for each in made))
    assert ["task", "3", "100.0 %"] in [row[:3] for row in page.rows()]
    found = await person.open("/shown", words="PLANTS", among="offered")
    assert "3 of the 3 decisions looked at" in found.text
    assert [row[3] for row in found.rows()[1:]] == ["user-2", "user-1", "user-0"]
    assert sum(f"/console/decision?id={each['decision_id']}" in found.links for each in made) == 3
    of_user = await person.open("/shown", user="user-1")
    assert [row[3] for row in of_user.rows()[1:]] == ["user-1"]
    picked = await person.open("/shown", candidate=made[0]["tip_id"])
    assert all(row[2].startswith(made[0]["tip_id"]) for row in picked.rows()[1:])


async def test_what_is_not_found_says_where_to_look_and_a_wrong_time_is_refused(person: Person) -> None:
    await person.service.score("ada", candidates=[{**TWO[0], "content": "<b>Bold</b>"}])
    nothing = await person.open("/shown", words="unheard")
    assert "None of the 1 decisions" in nothing.text
    assert "There is no such decision of a user “bea”" in (await person.open("/shown", user="bea")).text
    wrong = await person.open("/shown", since="tomorrow")
    assert (wrong.status, "must be a time" in wrong.text) == (422, True)
    assert "<b>Bold" not in (await person.open("/shown", words="bold")).html
    assert (await person.open("/shown", words="bold", before="x")).status == 422
    assert (await person.open("/shown", words="bold", before=-5)).status == 422


async def test_a_long_list_goes_on_where_it_ended(person: Person) -> None:
    for number in range(51):
        await person.service.score(f"user-{number}")
    page = await person.open("/shown", words="tax", among="offered")
    assert len(page.rows()) == 51
    [onward] = [link for link in page.links if "before=" in link]
    rest = await person.open(onward.removeprefix("/console"))
    assert [row[3] for row in rest.rows()[1:]] == ["user-0"]
    assert "Back to the newest" in rest.text

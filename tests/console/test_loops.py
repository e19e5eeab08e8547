"""Loops at the console: listed, each with its own console, and set to another mode after a question."""

from pathlib import Path

from tests.api.given import API_KEYS
from tests.console.given import ADMIN, visit_console


async def test_a_loop_is_shown_and_set_to_another_mode(tmp_path: Path) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS, key=ADMIN) as person:
        for name, mode in (("menu", "apprentice"), ("shelf", "online")):
            assert (await person.service.client.put(f"/loops/{name}", json={"mode": mode})).status_code == 201
        await person.log_in()
        page = await person.open("/loops")
        assert [row[:4] for row in page.rows()[1:4]] == [
            ["default here", "linucb-v2", "one a user", "online"],
            ["menu", "linucb-v2", "one a user", "apprentice"],
            ["shelf", "linucb-v2", "one a user", "online"],
        ]
        assert {"/console", "/loops/menu/console", "/loops/shelf/console"} <= set(page.links)
        asked = await person.open("/loops/mode", name="menu", mode="online")
        assert "Set menu to online?" in asked.text
        assert (await person.service.client.get("/loops/menu")).json()["mode"] == "apprentice", "looking does nothing"
        done = await person.send("/loops/mode", name="menu", mode="online", token=asked.token)
        assert done.response.headers["location"] == "/console/loops?done=changed"
        page = await person.open("/loops", done="changed")
        assert "mode: apprentice → online" in page.text
        assert (await person.service.client.get("/loops/menu")).json()["mode"] == "online"
        for name, mode in (("nothing", "online"), ("menu", "asleep")):
            assert (await person.open("/loops/mode", name=name, mode=mode)).status == 404
            assert (await person.send("/loops/mode", name=name, mode=mode, token=asked.token)).status == 404


async def test_what_cannot_be_set_is_said(tmp_path: Path) -> None:
    async with visit_console(tmp_path, experiment="linucb-v2:90,first-v1:10") as person:
        token = (await person.open("/loops/mode", name="default", mode="logging")).token
        refused = await person.send("/loops/mode", name="default", mode="logging", token=token)
        assert refused.status == 409
        assert "Nothing was changed: while EXPERIMENT splits the users" in refused.text

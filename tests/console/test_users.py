"""The pages of users: found, looked at, reset, erased."""

import asyncio
import re
from html import unescape
from pathlib import Path

import pytest

from bandstand.console import users, waiting
from bandstand.errors import StorageUnavailableError
from bandstand.service.coefficients import PolicyCoefficients, list_coefficients
from bandstand.service.context import ServiceContext
from tests.api.given import API_KEYS, TWO
from tests.console.given import ADMIN, Person, visit_console
from tests.store.given import ledger_of

HOSTILE = ["<script>alert(1)</script>", "a/b", "..", "%2F", "x&y=z", "é 张伟", '"quoted"', "' or 1=1 --", "a" * 256]


async def test_nobody_is_met_yet(person: Person) -> None:
    page = await person.open("/users")
    assert "Nobody has been met yet" in page.text


@pytest.mark.parametrize("user_id", HOSTILE)
async def test_a_user_of_any_id_is_listed_found_and_shown(person: Person, user_id: str) -> None:
    decision = await person.service.score(user_id)
    await person.service.reward(decision_id=decision["decision_id"], reward=0.5)
    page = await person.open("/users")
    assert page.rows()[1][:3] == [" ".join(user_id.split()), "1", "1"]
    (address,) = [link for link in page.links if link.startswith("/console/user?")]
    shown = await person.open(address.removeprefix("/console"))
    assert shown.status == 200
    assert user_id in shown.text
    assert (await person.open("/users", q=user_id)).rows() == page.rows()
    receipt = await person.open("/decision", id=decision["decision_id"])
    assert user_id in receipt.text
    assert "picked" in receipt.text
    assert "Send the tax return." in receipt.text
    assert "Water the plants." in receipt.text


async def test_users_are_found_by_how_their_id_begins(person: Person) -> None:
    for name in ("ada", "adam", "Ada", "bea", "ad%", "ad_"):
        await person.service.score(name)
    found = {q: [row[0] for row in (await person.open("/users", q=q)).rows()[1:]] for q in ("ada", "ad_", "b", "z")}
    assert found == {"ada": ["ada", "adam"], "ad_": ["ad_"], "b": ["bea"], "z": []}
    assert "No user's id begins with" in (await person.open("/users", q="z")).text


async def test_pages_of_users_follow_one_another_and_leave_nobody_out(person: Person) -> None:
    names = [f"user-{number:03d}" for number in range(120)]
    for name in names:
        await person.service.score(name, policy="first-v1")
    for path, expected in (("/users", names[::-1]), ("/users?q=user-", names)):
        met: list[str] = []
        onward: str | None = path
        while onward is not None:
            page = await person.open(onward.removeprefix("/console"))
            met += [row[0] for row in page.rows()[1:]]
            onward = next((link for link in page.links if "after=" in link or "before=" in link), None)
        assert met == expected


async def test_a_user_s_page_tells_what_every_policy_has_learned(person: Person) -> None:
    for policy in ("linucb-v2", "egreedy-v1"):
        for _ in range(3):
            decision = await person.service.score("ada", policy=policy)
            await person.service.reward(decision_id=decision["decision_id"], reward=1.0)
    page = await person.open("/user", id="ada")
    theta = (await person.service.stats("ada", "egreedy-v1"))["theta"]
    told = [row[1] for row in page.rows() if len(row) == 5 and row[0] != "Feature"][-len(theta) :]
    assert told == [f"{value:.3f}".replace("-", "−") for value in theta]
    assert page.text.index("linucb-v2 active") < page.text.index("egreedy-v1 3 decisions")
    assert "6" in page.text


async def test_a_page_does_not_wait_for_a_long_replay(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    decision = await person.service.score("ada")
    await person.service.reward(decision_id=decision["decision_id"], reward=1.0)
    replayed = asyncio.Event()

    async def answer_slowly(deployment: ServiceContext, user_id: str) -> list[PolicyCoefficients]:
        await replayed.wait()
        return await list_coefficients(deployment, user_id)

    monkeypatch.setattr(users, "list_coefficients", answer_slowly)
    page = await person.open("/user", id="ada")
    assert page.status == 200
    assert "made anew from the ledger" in page.text
    assert "receipt" in page.text, "all else is there"
    (ready,) = re.findall(r'data-ready="([^"]*)"', page.html)
    asked = asyncio.create_task(person.open(unescape(ready).removeprefix("/console")))
    replayed.set()
    assert (await asked).status == 200
    monkeypatch.setattr(waiting, "MAX_WAIT_S", 30.0)
    page = await person.open("/user", id="ada")
    assert "made anew" not in page.text
    assert "linucb-v2 active" in page.text
    assert (await person.open("/user/ready.json", id="nobody")).status == 404


async def test_a_replay_that_fails_is_told_to_whoever_asks_next(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await person.service.score("ada")
    failing = asyncio.Event()

    async def raise_broken(deployment: ServiceContext, user_id: str) -> list[PolicyCoefficients]:
        await failing.wait()
        raise StorageUnavailableError("the ledger cannot be read")

    monkeypatch.setattr(users, "list_coefficients", raise_broken)
    assert (await person.open("/user", id="ada")).status == 200
    failing.set()
    assert (await person.open("/user/ready.json", id="ada")).status == 503
    assert "cannot be read" in (await person.open("/user", id="ada")).text


async def test_decisions_are_shown_newest_first_with_their_rewards(person: Person) -> None:
    made = [await person.service.score("ada", policy="first-v1") for _ in range(53)]
    await person.service.reward(decision_id=made[-1]["decision_id"], reward=-0.25)
    own = await person.service.score("ada", policy="first-v1", decision_id="my own id")
    page = await person.open("/user", id="ada")
    rows = [row for row in page.rows() if row[-1] == "receipt"]
    assert len(rows) == 50
    assert [row[5] for row in rows[:3]] == ["none", "−0.25", "none"]
    receipts = [link for link in page.links if link.startswith("/console/decision")]
    assert receipts[0] == "/console/decision?id=my+own+id"
    assert own["decision_id"] == "my own id"
    (onward,) = [link for link in page.links if "before=" in link]
    rest = await person.open(onward.removeprefix("/console"))
    assert len([row for row in rest.rows() if row[-1] == "receipt"]) == 4
    figures = (await person.open("/user.json", id="ada")).response.json()
    assert figures["rewards"]["data"][0]["y"] == [-0.25]


async def test_a_reward_in_the_legacy_form_is_shown_with_the_decision_it_answers(person: Person) -> None:
    await person.service.score("ada", candidates=TWO[:1], policy="linucb-v1")
    await person.service.reward_legacy("ada", policy="linucb-v1", reward=0.75)
    page = await person.open("/user", id="ada")
    assert [row[5] for row in page.rows() if row[-1] == "receipt"] == ["0.75"]


async def test_a_reset_is_asked_for_done_and_seen(person: Person) -> None:
    decision = await person.service.score("ada")
    await person.service.reward(decision_id=decision["decision_id"], reward=1.0)
    asked = await person.open("/user/reset", id="ada")
    assert "ada" in asked.text
    assert (await person.service.stats("ada"))["pulls"] == 1, "looking at the question does nothing"
    done = await person.send("/user/reset", id="ada", token=asked.token)
    assert done.response.headers["location"] == "/console/user?id=ada&done=reset"
    assert (await person.service.stats("ada"))["pulls"] == 0
    page = await person.open("/user", id="ada", done="reset")
    assert "Every policy starts anew" in page.text
    assert "Nothing since the reset" in page.text
    assert 'class="past"' in page.html, "the log stays, faint"
    assert (await person.send("/user/reset", id="nobody", token=asked.token)).status == 404


async def test_an_erasure_needs_the_id_typed_and_gives_its_receipt(person: Person) -> None:
    decision = await person.service.score("ada")
    await person.service.reward(decision_id=decision["decision_id"], reward=1.0)
    token = (await person.open("/user/erase", id="ada")).token
    for typed in ("", "Ada", "ada "):
        refused = await person.send("/user/erase", id="ada", typed=typed, token=token)
        assert refused.status == 422
        assert "Nothing was erased" in refused.text
    assert (await person.open("/user", id="ada")).status == 200
    erased = await person.send("/user/erase", id="ada", typed="ada", token=token)
    assert erased.status == 200
    assert "decisions 1 rewards 1" in erased.text
    assert "backups made before" in erased.text
    assert (await person.open("/user", id="ada")).status == 404
    assert (await person.service.get(f"/decisions/{decision['decision_id']}")).status_code == 404


async def test_what_is_done_at_the_console_bears_the_name_of_the_key(tmp_path: Path) -> None:
    async with visit_console(tmp_path, api_keys=API_KEYS, key=ADMIN) as person:
        await person.service.score("ada")
        await person.log_in()
        token = (await person.open("/user/reset", id="ada")).token
        await person.send("/user/reset", id="ada", token=token)
    with ledger_of(tmp_path) as ledger:
        rows = ledger.execute("SELECT kind, client FROM marks WHERE uid IS NOT NULL").fetchall()
    assert rows == [("reset", "ops")]

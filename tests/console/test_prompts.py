"""The pages of prompts."""

import shutil
from pathlib import Path

from bandstand.prompts.library import prompts_directory
from tests.console.given import Person, visit_console


async def test_every_prompt_is_listed_and_shown(person: Person) -> None:
    page = await person.open("/prompts")
    assert page.rows()[1][0] == "generate/v1"
    assert "No tips have been written yet" in page.text
    shown = await person.open("/prompt", name="generate", version="v1")
    text = (await person.service.get("/prompts/generate/v1")).json()["text"]
    assert " ".join(text.split()) in shown.text


async def test_what_came_of_the_tips_is_told(person: Person) -> None:
    tasks = [{"id": "t", "title": "Send the tax return", "priority": 3}]
    made = await person.service.post("/generate", {"user_id": "ada", "tasks": tasks, "n": 2})
    assert made.status_code == 200, made.text
    page = await person.open("/prompts")
    assert any(row[1] == "1" and "templates" in row[0] for row in page.rows()), page.rows()


async def test_prompts_are_read_from_disk_again_or_kept(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    shutil.copytree(prompts_directory(), prompts)
    async with visit_console(tmp_path / "state", prompts_dir=prompts) as person:
        token = (await person.open("/prompts")).token
        text = (prompts / "generate" / "v1.md").read_text(encoding="utf-8")
        (prompts / "generate" / "v9.md").write_text(text, encoding="utf-8")
        (prompts / "generate" / "v8.md").write_text("no head", encoding="utf-8")
        done = await person.send("/prompts/reload", token=token)
        assert (done.status, done.response.headers["location"]) == (303, "/console/prompts?done=reloaded")
        page = await person.open("/prompts")
        assert "generate/v9" in page.text
        assert "v8.md" in page.text
        shutil.rmtree(prompts / "generate")
        kept = await person.send("/prompts/reload", token=token)
        assert kept.status == 409
        assert "generate/v9" in kept.text

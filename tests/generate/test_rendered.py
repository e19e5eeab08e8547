"""The rendered text of every shipped prompt, compared with a committed copy.

After a wanted change: ``UPDATE_SNAPSHOTS=1 python -m pytest tests/generate/test_rendered.py``, and read the difference.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from bandstand.generate.generator import PARAMETERS, build_prompt_values
from bandstand.generate.quote import quote_tasks
from bandstand.generate.tips import TipRequest
from tests.generate.given import REQUEST, SHIPPED, load_shipped

SNAPSHOTS = Path(__file__).parent / "snapshots"
CASES = {
    "full": REQUEST,
    "bare": TipRequest(tasks=[], n=1, hour_of_day=23, day_of_week=6),
    "cut": replace(REQUEST, tasks=[*REQUEST.tasks, *[{"title": "filler"}] * 200], n=50, extra={}),
}


def render_prompt(version: str, case: str) -> str:
    request = CASES[case]
    prompt = load_shipped(version).render(build_prompt_values(request, quote_tasks(request.tasks, 500)))
    return f"[system]\n{prompt.system}\n\n[user]\n{prompt.user}\n"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", SHIPPED.list_versions("generate"))
def test_rendered_text_is_as_committed(version: str, case: str) -> None:
    snapshot = SNAPSHOTS / f"{version}.{case}.txt"
    text = render_prompt(version, case)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        snapshot.parent.mkdir(exist_ok=True)
        snapshot.write_text(text, "utf-8")
    assert text == snapshot.read_text("utf-8")


def test_every_snapshot_is_of_a_prompt() -> None:
    names = {f"{version}.{case}.txt" for version in SHIPPED.list_versions("generate") for case in CASES}
    assert {path.name for path in SNAPSHOTS.iterdir()} == names


@pytest.mark.parametrize("version", SHIPPED.list_versions("generate"))
def test_no_task_closes_its_fence(version: str) -> None:
    user = render_prompt(version, "full").split("[user]")[1]
    assert user.count("</tasks>") == user.count("</extra>") == 1


def test_the_values_offered_are_the_values_documented() -> None:
    assert build_prompt_values(REQUEST, quote_tasks(REQUEST.tasks)).keys() == PARAMETERS.keys()

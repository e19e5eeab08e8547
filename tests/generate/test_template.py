"""Tips without a model: honest, ordered, never more than asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.generate.quote import strip_hidden
from bandstand.generate.template import TemplateTipGenerator
from bandstand.generate.tips import GeneratedTip, TipRequest
from tests.generate.test_tasks import tasks


def tips_of(*raw: dict[str, object], n: int = 50) -> tuple[GeneratedTip, ...]:
    return TemplateTipGenerator().generate(TipRequest(tasks=raw, n=n)).tips


def test_overdue_first_then_by_priority_then_by_age() -> None:
    ordered = tips_of(
        {"id": "e", "title": "e", "priority": 1, "task_age_days": 1},
        {"id": "d", "title": "d", "priority": 1, "task_age_days": 9},
        {"id": "c", "title": "c", "priority": 4},
        {"id": "b", "title": "b", "priority": 2, "is_overdue": True},
        {"id": "a", "title": "a", "priority": 3, "is_overdue": True},
    )
    assert [tip.source_id for tip in ordered] == ["a", "b", "c", "d", "e"]
    assert [tip.id for tip in ordered] == [f"tip-{number}" for number in range(1, 6)]


@pytest.mark.parametrize(
    ("task", "content", "rationale"),
    [
        (
            {"title": "Pay rent", "is_overdue": True, "priority": 4, "task_age_days": 3},
            "“Pay rent” is overdue. Do it now, or choose a new day for it.",
            "Overdue, urgent priority, on the list for 3 days.",
        ),
        (
            {"title": "Pay rent", "priority": 3},
            "Give “Pay rent” your next free half hour: it has high priority.",
            "High priority.",
        ),
        (
            {"title": "Pay rent", "task_age_days": 1200, "priority": 1},
            "“Pay rent” has waited 1,200 days. Take its first step today, or let it go.",
            "Low priority, on the list for 1,200 days.",
        ),
        (
            {"title": "Pay rent"},
            "When you have a moment, take the next step on “Pay rent”.",
            None,
        ),
        (
            {"title": "Pay rent", "priority": 2, "task_age_days": 1.9},
            "When you have a moment, take the next step on “Pay rent”.",
            "Medium priority, on the list for 1 day.",
        ),
    ],
)
def test_says_what_the_task_says(task: dict[str, object], content: str, rationale: str | None) -> None:
    assert tips_of(task) == (GeneratedTip(id="tip-1", content=content, rationale=rationale, source="template", task=0),)


def test_tasks_without_a_title_are_passed_over() -> None:
    assert tips_of({}, {"title": " "}, {"title": "\u200b"}, {"title": 7}) == ()


def test_says_what_it_is_and_what_it_could_not_do() -> None:
    generation = TemplateTipGenerator().generate(TipRequest(tasks=[{"title": "a"}] + [{}] * 300, n=5))
    assert (generation.model, generation.prompt_version, generation.prompt_digest) == ("template", "template", "")
    assert (generation.requested, generation.missing, generation.tasks_left_out) == (5, 4, 101)
    assert (generation.prompt_tokens, generation.completion_tokens, generation.tries) == (0, 0, 0)


@given(st.lists(tasks, max_size=8), st.integers(1, 5))
def test_any_tasks_make_tips_that_can_be_scored(raw: list[dict[str, object]], n: int) -> None:
    tips = tips_of(*raw, n=n)
    assert len(tips) <= min(n, len(raw))
    for tip in tips:
        assert 0 < len(tip.content) <= 2000
        assert strip_hidden(tip.content) == tip.content
        assert "\n" not in tip.content
        assert tip.source == "template"

"""Ways to write tips for the tests of the use cases."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from bandstand.generate.generator import TipGenerator
from bandstand.llm.chat import ChatRequest
from bandstand.prompts.library import prompts_directory
from bandstand.service.generate import TipWriting
from bandstand.service.prompts import PromptService
from bandstand.testing.scripted_llm import Line, ScriptedClient

TASKS: list[dict[str, Any]] = [
    {"id": "rent", "title": "Pay the rent", "priority": 4, "is_overdue": True, "task_age_days": 3},
    {"id": 7, "title": "Call mum", "priority": 2, "task_age_days": 1.5, "list": "family"},
    {"title": "Sleep", "priority": "high"},
]
TIPS = [
    {"id": "a", "content": "Pay the rent now.", "rationale": "It is late.", "task_id": "rent"},
    {"content": "Ring her at noon.", "task_id": 7},
    {"id": "a", "content": "Go to bed at ten.", "task_id": "nobody's"},
]


def request(user_id: str = "anna", **fields: Any) -> dict[str, Any]:
    """A request for tips on a Tuesday morning."""
    context = {"tasks": TASKS, "hour_of_day": 9, "day_of_week": 1, "extra": {"mood": "rushed"}}
    return {"user_id": user_id, "context": context, "n": 3} | fields


def by_template() -> TipWriting:
    return TipWriting(PromptService(prompts_directory()))


def by_model(
    script: Iterable[Line] | Callable[[ChatRequest], Line] = lambda _: json.dumps(TIPS), default: str = ""
) -> tuple[TipWriting, ScriptedClient]:
    """A scripted model, and its client to look at."""
    client = ScriptedClient(script, model="m-1")
    return TipWriting(PromptService(prompts_directory(), default), TipGenerator(client)), client

"""The prompt of a judge: the person, the moment and the task."""

import json
from collections.abc import Mapping
from dataclasses import replace

from bandstand.errors import ConfigurationError
from bandstand.generate.generator import get_day_period
from bandstand.generate.quote import copy_bounded, wrap_in_fence
from bandstand.prompts.library import Prompt, PromptLibrary, RenderedPrompt, prompts_directory
from bandstand.simulate.plan import JudgePlan, Plan
from bandstand.simulate.world.world import Episode

PROMPT_NAME = "simulate"
PROMPT_VERSION = "v1"
PARAMETERS = ("person", "task", "day", "period", "hour_of_day")
"""Every value a ``simulate`` prompt may ask for."""

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_CHARACTERS = 1_000


def load_shipped_prompt(version: str = PROMPT_VERSION) -> Prompt:
    """Read a version of the prompt that ships with the package.

    Raises:
        ConfigurationError: that version does not exist, or is broken.
    """
    library = PromptLibrary.load(prompts_directory(), offered={PROMPT_NAME: PARAMETERS})
    prompt = library.get(PROMPT_NAME, version)
    if prompt is None:
        broken = [str(each) for each in library.broken if each.file.startswith(f"{PROMPT_NAME}/")]
        raise ConfigurationError(f"There is no prompt {PROMPT_NAME}/{version}. {' '.join(broken)}".rstrip())
    return prompt


def with_prompt(plan: Plan) -> Plan:
    """Record the prompt in a plan whose judge uses one."""
    if plan.judge.kind == "rule":
        return plan
    return replace(plan, judge=replace(plan.judge, prompt=load_shipped_prompt().digest))


def load_planned_prompt(judge: JudgePlan) -> Prompt:
    """Read the prompt of a run.

    Raises:
        ConfigurationError: it has changed since the run was begun.
    """
    prompt = load_shipped_prompt()
    if judge.prompt not in {None, prompt.digest}:
        raise ConfigurationError("The run cannot be continued: its judge's prompt has changed since.")
    return prompt


def render_question(prompt: Prompt, episode: Episode, step: int, pick: int) -> RenderedPrompt:
    """Render the question: what does this user do with this candidate at this step?"""
    persona, slates = episode.persona, episode.slates
    context, candidate = slates.get_context(step), slates.get_candidates(step)[pick]
    features = candidate["features"]
    person = {
        "name": persona.name,
        "description": persona.description,
        "prefers_high_priority": round(persona.prefers_high_priority, 2),
        "prefers_overdue": round(persona.prefers_overdue, 2),
        "morning_active": persona.morning_active,
        "evening_active": persona.evening_active,
    }
    task = {
        "text": candidate["content"],
        "priority": features["priority"],
        "overdue": features["is_overdue"],
        "age_days": features["task_age_days"],
    }
    return prompt.render(
        {
            "person": _format_quoted("person", person),
            "task": _format_quoted("task", task),
            "day": _DAYS[context["day_of_week"]],
            "period": get_day_period(context["hour_of_day"]),
            "hour_of_day": context["hour_of_day"],
        }
    )


def _format_quoted(name: str, value: Mapping[str, object]) -> str:
    line = json.dumps(copy_bounded(value, _CHARACTERS), ensure_ascii=False)
    return wrap_in_fence(name, [line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")])

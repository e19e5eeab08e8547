"""The judge of a simulation, as its plan has it: the rule, a program, or a model with its client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import typer

from bandstand.config.settings import Settings
from bandstand.llm.chat import ChatClient
from bandstand.simulate.judges.command_judge import COMMAND_DEADLINE_S, CommandJudge
from bandstand.simulate.judges.judge import ReactionJudge, RuleJudge
from bandstand.simulate.judges.judge_prompt import load_planned_prompt
from bandstand.simulate.judges.llm_judge import LLM_DEADLINE_S, LLM_MODEL, LlmJudge
from bandstand.simulate.plan import JudgePlan, Plan


@asynccontextmanager
async def open_planned_judge(settings: Settings, plan: Plan) -> AsyncIterator[ReactionJudge]:
    """Make the judge of a plan, and close what it needed.

    Raises:
        ConfigurationError: its prompt is not the one that the run was begun with, or its URL is none.
    """
    judge = plan.judge
    if judge.kind == "rule":
        yield RuleJudge()
    elif judge.kind == "command":
        yield CommandJudge(judge.command, load_planned_prompt(judge), deadline_s=judge.deadline_s or COMMAND_DEADLINE_S)
    else:
        async with _open_client(settings, plan.judge, plan.total) as client:
            yield LlmJudge(client, load_planned_prompt(judge), deadline_s=judge.deadline_s or LLM_DEADLINE_S)


@asynccontextmanager
async def _open_client(settings: Settings, plan: JudgePlan, questions: int) -> AsyncIterator[ChatClient | None]:
    """The model that judges, named on stderr with the host its questions go to; None if there is no key."""
    from bandstand.wiring.llm_clients import open_persona_model  # noqa: PLC0415 (the judge's modules take their time)

    model = plan.model or LLM_MODEL
    async with open_persona_model(settings, model, plan.url) as connection:
        if connection is None:
            typer.echo("ANTHROPIC_API_KEY is unset: the rule judges", err=True)
            yield None
        else:
            typer.echo(f"{model} at {connection.host} is asked up to {questions:,} questions", err=True)
            yield connection.build_client()

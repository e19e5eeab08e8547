"""The judge of a simulation, as its plan has it: the rule, a program, or a model with its client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import typer

from bandstand.config.settings import Settings
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
async def _open_client(settings: Settings, plan: JudgePlan, questions: int) -> AsyncIterator[Any]:
    """The model that judges, named on stderr with the host its questions go to; None where there is no key."""
    # The providers' packages take a second to import.
    from bandstand.llm.middleware.breaker import BreakerClient, CircuitBreaker  # noqa: PLC0415
    from bandstand.llm.middleware.retry import RetryingClient  # noqa: PLC0415

    model = plan.model or LLM_MODEL
    adapter: Any
    if plan.url is not None:
        from bandstand.llm.providers.openai_compatible import OpenAICompatibleClient  # noqa: PLC0415

        key = settings.openai_api_key
        secret = None if key is None else key.get_secret_value()
        adapter = OpenAICompatibleClient(base_url=plan.url, api_key=secret, model=model)
    elif settings.anthropic_api_key is not None:
        from bandstand.llm.providers.anthropic import AnthropicClient  # noqa: PLC0415

        adapter = AnthropicClient(api_key=settings.anthropic_api_key.get_secret_value(), model=model)
    else:
        typer.echo("ANTHROPIC_API_KEY is unset: the rule judges", err=True)
        yield None
        return
    typer.echo(f"{model} at {adapter.host} is asked up to {questions:,} questions", err=True)
    async with adapter:
        yield RetryingClient(BreakerClient(adapter, CircuitBreaker()))

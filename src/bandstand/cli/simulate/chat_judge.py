"""The judge that reads what simulated users say: the service's own, as its settings and its state directory have it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import typer

from bandstand.config.settings import Settings
from bandstand.errors import ConfigurationError, InvalidRequestError
from bandstand.judge.gate import Gate
from bandstand.judge.training.tier import Tier
from bandstand.judging import gate as judge_gate
from bandstand.judging import llm_host, local_judges, open_judges
from bandstand.simulate.plan import ChatPlan, Plan
from bandstand.simulate.run.listener import ChatPlayers, JudgeListener
from bandstand.simulate.run.runner import Players
from bandstand.simulate.world.chat import load_taxonomy


def build_chat_plan(settings: Settings, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what flags leave to the settings.

    Raises:
        InvalidRequestError: a flag goes with ``--chat``, which is not there.
    """
    if "tier" not in flags:
        raise InvalidRequestError("--gate and --tau go with --chat, which says who reads what users say")
    return {"gate": settings.judge_gate, "tau": settings.judge_tau, **flags}


def with_judge(settings: Settings, plan: Plan) -> Plan:
    """Note in a plan who exactly reads what users say, calibrations included."""
    if plan.chat is None:
        return plan
    return replace(plan, chat=replace(plan.chat, judge=_describe_judge(settings, plan.chat)))


@asynccontextmanager
async def open_chat_players(settings: Settings, plan: Plan, players: Players) -> AsyncIterator[Players]:
    """Give each policy a judge, if users talk; if an LLM may be asked, its host is named on stderr.

    Raises:
        ConfigurationError: the judge is not the one that the run was begun with.
    """
    chat = plan.chat
    if chat is None:
        yield players
        return
    if chat.judge != _describe_judge(settings, chat):
        raise ConfigurationError("The run cannot be continued: its judge is another one since.")
    host = llm_host(settings, mode=chat.tier)
    if host is not None:
        typer.echo(f"{settings.judge_model} at {host} may be asked about {plan.total // 2:,} turns", err=True)
    async with open_judges(settings, mode=chat.tier) as judges:
        yield ChatPlayers(players, JudgeListener(judges.get_judge(load_taxonomy().name), _build_gate(settings, chat)))


def _describe_judge(settings: Settings, chat: ChatPlan) -> str:
    judge: Tier = local_judges(settings, mode=chat.tier).get_judge(load_taxonomy().name)
    calibrations = [one.name for one in _build_gate(settings, chat).calibrations.entries]
    model = settings.judge_model if llm_host(settings, mode=chat.tier) else None
    return " ".join([judge.model, *filter(None, [model]), *calibrations])


def _build_gate(settings: Settings, chat: ChatPlan) -> Gate:
    return replace(judge_gate(settings), tau=chat.tau, mode=chat.gate)

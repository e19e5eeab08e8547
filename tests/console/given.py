"""What the tests of the console are given: a service, a person at it, and a reader of its pages."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx

from bandstand.judge.gate import Gate
from bandstand.simulate.judges.judge import RuleJudge
from bandstand.simulate.plan import ChatPlan, Plan
from bandstand.simulate.run.listener import ChatPlayers, JudgeListener
from bandstand.simulate.run.runner import LocalPlayers, Runner
from bandstand.store.tables.run_table import RunProgress
from bandstand.store.tables.simulations import Simulations
from tests.api.given import KEYS, Service, run_service
from tests.judge.given import local
from tests.simulate.given import CATALOGUE, SMALL

ADMIN = KEYS["ops"][1]


class Page:
    """An answer as a person sees it."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.html = response.text
        reader = _Reader()
        reader.feed(self.html)
        self.text = " ".join("".join(reader.words).split())
        self.links = reader.links
        self.scripts = reader.scripts

    @property
    def token(self) -> str:
        """What the first form of the page carries."""
        found = re.search(r'name="token" value="([^"]*)"', self.html)
        assert found is not None, self.text
        return unescape(found[1])

    def rows(self) -> list[list[str]]:
        """The cells of every row of every table."""
        found = []
        for row in re.findall(r"<tr.*?</tr>", self.html, flags=re.DOTALL):
            cells = re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, flags=re.DOTALL)
            found.append([" ".join(unescape(re.sub(r"<[^>]*>", " ", cell)).split()) for cell in cells])
        return found


_BLOCKS = {"dt", "dd", "p", "td", "th", "h1", "h2", "h3", "div", "section", "footer", "a", "span"}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self._inside = tag
        if tag in _BLOCKS:
            self.words.append(" ")
        if tag == "a" and named.get("href"):
            self.links.append(str(named["href"]))
        if tag == "script":
            self.scripts.append((named.get("src"), ""))
        assert not [name for name in named if name.startswith("on")], "no handler may stand in a page"

    def handle_data(self, data: str) -> None:
        if self._inside == "script" and data.strip():
            self.scripts[-1] = (self.scripts[-1][0], data)
        self.words.append(data)


class Person:
    """Somebody at the console."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.client = service.client

    async def open(self, path: str = "", **query: Any) -> Page:
        return Page(await self.client.get(f"/console{path}", params=query or None))

    async def send(self, path: str, **fields: Any) -> Page:
        """Post a form of the console, with the token that its page gave."""
        return Page(await self.client.post(f"/console{path}", data=fields))

    async def log_in(self, key: str = ADMIN, **fields: Any) -> Page:
        token = (await self.open("/login")).token
        return await self.send("/login", key=key, token=token, **fields)


@asynccontextmanager
async def visit_console(state_dir: Path, **settings: Any) -> AsyncIterator[Person]:
    """Somebody at the console of a running service."""
    async with run_service(state_dir, **settings) as service:
        yield Person(service)


async def play_conversations() -> tuple[Plan, dict[str, Any]]:
    """A small run of users who talk: its plan and its summary."""
    plan = replace(SMALL, chat=ChatPlan())
    runner = Runner(plan, ChatPlayers(LocalPlayers(CATALOGUE.policies), JudgeListener(local(), Gate())), RuleJudge())
    assert await runner.run(asyncio.Event())
    return plan, runner.tally.build_summary()


def keep(state_dir: Path, plan: Plan, summary: dict[str, Any]) -> None:
    """Leave a run of the command line's in a state directory."""
    simulations = Simulations(state_dir)
    run = simulations.create(plan.to_json(), plan.total, origin="command", client="", now=0.0)
    claim = simulations.claim(run, now=0.0)
    assert claim is not None
    told = json.dumps(summary)
    progress = RunProgress(done=plan.total, summary=told, state="done")
    assert simulations.save(claim, progress, plays=[], events=[], now=1.0)

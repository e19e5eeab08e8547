"""Prompts: the library in service, which version a request gets, and what each version has come to."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from bandstand.bandit.arms import Earnings, thompson
from bandstand.errors import BandstandError, ConfigurationError
from bandstand.generate.errors import PromptsKeptError, UnknownPromptError
from bandstand.generate.generator import PARAMETERS
from bandstand.generate.selection import GENERATE, Selected, default_versions, select_prompt, uniform
from bandstand.prompts.library import BrokenPrompt, Prompt, PromptLibrary
from bandstand.service.context import Deployment
from bandstand.store.protocol import Store
from bandstand.store.tables.generations import PromptRef, PromptTotals

AUTO = "auto"
FLOOR = 0.05
"""Share of uniform choices under ``auto``: what people like changes, and the totals never forget."""
RELEARN_SECONDS = 10.0

_OFFERED = {GENERATE: PARAMETERS}


class _Served(NamedTuple):
    library: PromptLibrary
    versions: tuple[str, ...]  # what a request that names none may get


class Prompts:
    """The prompts in service; read from disk at once, and again by :meth:`reload`.

    Args:
        directory: where they are.
        default: ``DEFAULT_PROMPT_VERSION``: empty for ``v1``, a version, several with commas, or ``auto``.

    Raises:
        ConfigurationError: the directory cannot be read, or a default is not in it.
    """

    def __init__(self, directory: Path, default: str = "") -> None:
        self._directory = directory
        self._default = default.strip()
        self._totals: Sequence[PromptTotals] = ()
        self._adopt(self._load())

    @property
    def library(self) -> PromptLibrary:
        """Every prompt in service."""
        return self._served.library

    @property
    def default(self) -> str:
        """What requests get that name no version: ``auto``, or versions with commas."""
        return AUTO if self.automatic else ",".join(self._served.versions)

    @property
    def automatic(self) -> bool:
        """Whether versions are arms of a bandit."""
        return self._default == AUTO

    @property
    def shares(self) -> Mapping[str, float]:
        """The probability with which a request that names none gets each version."""
        return self._shares

    def select(self, requested: str | None, u: float) -> Selected:
        """The prompt for one request; see :func:`bandstand.generate.selection.select_prompt`."""
        return select_prompt(requested, self._shares, self.library, u=u)

    def get(self, name: str, version: str) -> Prompt:
        """One prompt.

        Raises:
            UnknownPromptError: it is not in the library.
        """
        prompt = self.library.get(name, version)
        if prompt is None:
            raise UnknownPromptError("no such prompt")
        return prompt

    async def reload(self) -> None:
        """Read the directory again; requests under way keep the prompts they have.

        Raises:
            PromptsKeptError: what is there cannot take over; nothing has changed.
        """
        try:
            self._adopt(await asyncio.to_thread(self._load))
        except ConfigurationError as error:
            raise PromptsKeptError(error.detail) from error

    def learn(self, totals: Sequence[PromptTotals]) -> None:
        """Take in what each prompt came to; it counts under ``auto`` only."""
        self._totals = totals
        if not self.automatic:
            self._shares = uniform(self._served.versions)
            return
        earned = {total.prompt: total.earnings for total in totals}
        arms = [prompt for prompt in self.library if prompt.name == GENERATE]
        played = thompson([earned.get(reference(prompt), Earnings()) for prompt in arms], FLOOR)
        self._shares = dict(zip((prompt.version for prompt in arms), played.tolist(), strict=True))

    async def keep_learning(self, store: Store, seconds: float = RELEARN_SECONDS) -> None:
        """Under ``auto``, learn from the ledger again and again; while it cannot be read, what is known stands."""
        while self.automatic:
            await asyncio.sleep(seconds)
            with suppress(BandstandError):
                self.learn(await store.prompt_totals())

    def _load(self) -> _Served:
        library = PromptLibrary.load(self._directory, offered=_OFFERED)
        try:
            if self._default != AUTO:
                return _Served(library, default_versions(self._default, library))
            if versions := library.versions(GENERATE):
                return _Served(library, versions)
        except ConfigurationError as error:
            raise ConfigurationError(" ".join([error.detail, *_left_out(library.broken)])) from None
        raise ConfigurationError(" ".join(["DEFAULT_PROMPT_VERSION: there is no version.", *_left_out(library.broken)]))

    def _adopt(self, served: _Served) -> None:
        self._served = served
        self.learn(self._totals)


def _left_out(broken: Sequence[BrokenPrompt]) -> list[str]:
    return [f"Left out: {'; '.join(map(str, broken))}."] if broken else []


def reference(prompt: Prompt) -> PromptRef:
    """What an event stores of a prompt."""
    return PromptRef(prompt.name, prompt.version, prompt.digest)


def listing(prompts: Prompts) -> dict[str, Any]:
    """Every prompt in service, and the files that were left out."""
    shares = prompts.shares
    return {
        "default": prompts.default,
        "prompts": [
            {
                "name": prompt.name,
                "version": prompt.version,
                "description": prompt.description,
                "digest": prompt.digest,
                "share": shares.get(prompt.version, 0.0) if prompt.name == GENERATE else None,
            }
            for prompt in prompts.library
        ],
        "broken": [broken._asdict() for broken in prompts.library.broken],
    }


def shown(prompts: Prompts, name: str, version: str) -> dict[str, Any]:
    """One prompt with its text.

    Raises:
        UnknownPromptError: there is none.
    """
    prompt = prompts.get(name, version)
    return {
        "name": prompt.name,
        "version": prompt.version,
        "description": prompt.description,
        "digest": prompt.digest,
        "parameters": dict(prompt.parameters),
        "text": prompt.text,
    }


async def stats(deployment: Deployment, prompts: Prompts) -> dict[str, Any]:
    """What each version came to: those in service first, then earlier wordings and tips made without a prompt."""
    totals = {total.prompt: total for total in await deployment.store.prompt_totals()}
    current = [reference(prompt) for prompt in prompts.library if prompt.name == GENERATE]
    shares = prompts.shares
    return {
        "default": prompts.default,
        "versions": [
            *(_entry(totals.get(ref, PromptTotals(ref)), shares.get(ref.version, 0.0)) for ref in current),
            *(_entry(total, None) for ref, total in totals.items() if ref not in current),
        ],
    }


def _entry(total: PromptTotals, share: float | None) -> dict[str, Any]:
    earnings = total.earnings
    interval = earnings.interval()
    return {
        "version": total.prompt.version,
        "digest": total.prompt.digest,
        "in_service": share is not None,
        "share": share,
        "generations": total.generations,
        "tips": total.tips,
        "decisions": total.decisions,
        "rewards": earnings.count,
        "reaction_rate": earnings.count / total.decisions if total.decisions else None,
        "mean_reward": earnings.mean,
        "interval": None if interval is None else list(interval),
    }

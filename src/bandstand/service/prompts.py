"""Prompts: the library in service, which version a request gets, and what each version has come to."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from bandstand.bandit.arms import RewardSums, compute_thompson_probabilities
from bandstand.errors import BandstandError, ConfigurationError
from bandstand.generate.errors import PromptsKeptError, UnknownPromptError
from bandstand.generate.generator import PARAMETERS
from bandstand.generate.selection import GENERATE, SelectedPrompt, default_versions, select_prompt, uniform
from bandstand.prompts.library import BrokenPrompt, Prompt, PromptLibrary
from bandstand.service.context import ServiceContext
from bandstand.store.protocol import Store
from bandstand.store.tables.generations import PromptRef, PromptTotals

AUTO = "auto"
EXPLORATION_FLOOR = 0.05
"""Share of uniform choices under ``auto``: what people like changes, and the totals never forget."""
RELEARN_SECONDS = 10.0

_OFFERED_PARAMETERS = {GENERATE: PARAMETERS}


class _LoadedPrompts(NamedTuple):
    library: PromptLibrary
    versions: tuple[str, ...]  # what a request that names none may get


class PromptService:
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
        self._activate(self._load())

    @property
    def library(self) -> PromptLibrary:
        """Every prompt in service."""
        return self._loaded.library

    @property
    def default(self) -> str:
        """What requests get that name no version: ``auto``, or versions with commas."""
        return AUTO if self.is_automatic else ",".join(self._loaded.versions)

    @property
    def is_automatic(self) -> bool:
        """Whether versions are arms of a bandit."""
        return self._default == AUTO

    @property
    def version_shares(self) -> Mapping[str, float]:
        """The probability with which a request that names none gets each version."""
        return self._shares

    def select(self, requested: str | None, u: float) -> SelectedPrompt:
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
            self._activate(await asyncio.to_thread(self._load))
        except ConfigurationError as error:
            raise PromptsKeptError(error.detail) from error

    def update_shares(self, totals: Sequence[PromptTotals]) -> None:
        """Take in what each prompt came to; it counts under ``auto`` only."""
        self._totals = totals
        if not self.is_automatic:
            self._shares = uniform(self._loaded.versions)
            return
        earned = {total.prompt: total.reward_sums for total in totals}
        arms = [prompt for prompt in self.library if prompt.name == GENERATE]
        played = compute_thompson_probabilities(
            [earned.get(to_prompt_ref(prompt), RewardSums()) for prompt in arms], EXPLORATION_FLOOR
        )
        self._shares = dict(zip((prompt.version for prompt in arms), played.tolist(), strict=True))

    async def run_updates(self, store: Store, seconds: float = RELEARN_SECONDS) -> None:
        """Under ``auto``, learn from the ledger again and again; while it cannot be read, what is known stands."""
        while self.is_automatic:
            await asyncio.sleep(seconds)
            with suppress(BandstandError):
                self.update_shares(await store.load_prompt_totals())

    def _load(self) -> _LoadedPrompts:
        library = PromptLibrary.load(self._directory, offered=_OFFERED_PARAMETERS)
        try:
            if self._default != AUTO:
                return _LoadedPrompts(library, default_versions(self._default, library))
            if versions := library.list_versions(GENERATE):
                return _LoadedPrompts(library, versions)
        except ConfigurationError as error:
            raise ConfigurationError(" ".join([error.detail, *_describe_broken(library.broken)])) from None
        raise ConfigurationError(
            " ".join(["DEFAULT_PROMPT_VERSION: there is no version.", *_describe_broken(library.broken)])
        )

    def _activate(self, loaded: _LoadedPrompts) -> None:
        self._loaded = loaded
        self.update_shares(self._totals)


def _describe_broken(broken: Sequence[BrokenPrompt]) -> list[str]:
    return [f"Left out: {'; '.join(map(str, broken))}."] if broken else []


def to_prompt_ref(prompt: Prompt) -> PromptRef:
    """What an event stores of a prompt."""
    return PromptRef(prompt.name, prompt.version, prompt.digest)


def list_prompts(prompts: PromptService) -> dict[str, Any]:
    """Every prompt in service, and the files that were left out."""
    shares = prompts.version_shares
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


def get_detail(prompts: PromptService, name: str, version: str) -> dict[str, Any]:
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


async def load_stats(deployment: ServiceContext, prompts: PromptService) -> dict[str, Any]:
    """What each version came to: those in service first, then earlier wordings and tips made without a prompt."""
    totals = {total.prompt: total for total in await deployment.store.load_prompt_totals()}
    current = [to_prompt_ref(prompt) for prompt in prompts.library if prompt.name == GENERATE]
    shares = prompts.version_shares
    return {
        "default": prompts.default,
        "versions": [
            *(_build_entry(totals.get(ref, PromptTotals(ref)), shares.get(ref.version, 0.0)) for ref in current),
            *(_build_entry(total, None) for ref, total in totals.items() if ref not in current),
        ],
    }


def _build_entry(total: PromptTotals, share: float | None) -> dict[str, Any]:
    earnings = total.reward_sums
    interval = earnings.compute_interval()
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

"""Prompts: the library in service, which version a request gets, and what each version has earned."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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
        """Update the shares from what each prompt earned; only under ``auto``."""
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
        """Under ``auto``, update the shares from the ledger periodically.

        While it cannot be read, the last ones stand.
        """
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSummary:
    """One version of a prompt; ``share`` is the probability that a request gets it that names none."""

    name: str
    version: str
    description: str
    digest: str
    share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptListing:
    """Every prompt in service, and the files that were left out."""

    default: str
    prompts: Sequence[PromptSummary]
    broken: Sequence[BrokenPrompt]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptDetail:
    """One version of a prompt with its text; ``parameters`` are the values it needs, each with its meaning."""

    name: str
    version: str
    description: str
    digest: str
    parameters: Mapping[str, str]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVersionStats:
    """What one wording of a version earned.

    Attributes:
        version: ``template`` for tips made without a prompt.
        share: as in :class:`PromptSummary`; ``None`` for a wording that is not in service.
        decisions: those that picked one of its tips.
        rewards: those of these decisions that taught.
        interval: 95 % confidence interval of the mean reward.
    """

    version: str
    digest: str
    in_service: bool
    share: float | None
    generations: int
    tips: int
    decisions: int
    rewards: int
    reaction_rate: float | None
    mean_reward: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptReport:
    """What each version came to: those in service first, then earlier wordings and tips made without a prompt."""

    default: str
    versions: Sequence[PromptVersionStats]


def list_prompts(prompts: PromptService) -> PromptListing:
    """Every prompt in service, and the files that were left out."""
    shares = prompts.version_shares
    return PromptListing(
        default=prompts.default,
        prompts=[
            PromptSummary(
                name=prompt.name,
                version=prompt.version,
                description=prompt.description,
                digest=prompt.digest,
                share=shares.get(prompt.version, 0.0) if prompt.name == GENERATE else None,
            )
            for prompt in prompts.library
        ],
        broken=prompts.library.broken,
    )


def get_detail(prompts: PromptService, name: str, version: str) -> PromptDetail:
    """One prompt with its text.

    Raises:
        UnknownPromptError: there is no such prompt.
    """
    prompt = prompts.get(name, version)
    return PromptDetail(
        name=prompt.name,
        version=prompt.version,
        description=prompt.description,
        digest=prompt.digest,
        parameters=dict(prompt.parameters),
        text=prompt.text,
    )


async def load_stats(deployment: ServiceContext, prompts: PromptService) -> PromptReport:
    """What each version came to: those in service first, then earlier wordings and tips made without a prompt."""
    totals = {total.prompt: total for total in await deployment.store.load_prompt_totals()}
    current = [to_prompt_ref(prompt) for prompt in prompts.library if prompt.name == GENERATE]
    shares = prompts.version_shares
    return PromptReport(
        default=prompts.default,
        versions=[
            *(_build_entry(totals.get(ref, PromptTotals(ref)), shares.get(ref.version, 0.0)) for ref in current),
            *(_build_entry(total, None) for ref, total in totals.items() if ref not in current),
        ],
    )


def _build_entry(total: PromptTotals, share: float | None) -> PromptVersionStats:
    earnings = total.reward_sums
    interval = earnings.compute_interval()
    return PromptVersionStats(
        version=total.prompt.version,
        digest=total.prompt.digest,
        in_service=share is not None,
        share=share,
        generations=total.generations,
        tips=total.tips,
        decisions=total.decisions,
        rewards=earnings.count,
        reaction_rate=earnings.count / total.decisions if total.decisions else None,
        mean_reward=earnings.mean,
        interval=interval,
    )

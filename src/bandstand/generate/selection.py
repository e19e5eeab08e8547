"""Which version of a prompt a request gets: the one it names, else one drawn by the deployment's shares."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from bandstand.errors import ConfigurationError, FieldError, InvalidRequestError
from bandstand.prompts.library import Prompt, PromptLibrary

GENERATE = "generate"
BASELINE = "v1"


class SelectedPrompt(NamedTuple):
    """A prompt, and the probability with which it was drawn; None if the request named it."""

    prompt: Prompt
    propensity: float | None


def default_versions(setting: str, library: PromptLibrary, name: str = GENERATE) -> tuple[str, ...]:
    """The versions that ``DEFAULT_PROMPT_VERSION`` names: ``v1`` if it is empty, else one, or several with commas.

    Raises:
        ConfigurationError: a version is not in the library.
    """
    # A version named twice is not drawn twice as often: the pick is uniform over versions.
    versions = tuple(dict.fromkeys(part.strip() for part in setting.split(",") if part.strip())) or (BASELINE,)
    for version in versions:
        if library.get(name, version) is None:
            known = ", ".join(library.list_versions(name)) or "none"
            raise ConfigurationError(f"DEFAULT_PROMPT_VERSION names {version!r}; there is {known}.")
    return versions


def uniform(versions: Sequence[str]) -> dict[str, float]:
    """Every version as likely as another."""
    return dict.fromkeys(versions, 1 / len(versions))


def select_prompt(
    requested: str | None, shares: Mapping[str, float], library: PromptLibrary, *, u: float, name: str = GENERATE
) -> SelectedPrompt:
    """The prompt for one request.

    Args:
        requested: the request's ``prompt_version``; None or "" leaves the choice to the deployment.
        shares: the probability of each version that the deployment may choose, at least one; together 1.
        library: where the prompts are.
        u: a draw, uniform in [0, 1), that picks among them.
        name: what the prompt is for.

    Raises:
        InvalidRequestError: there is no such version. The versions that there are are named, the request's words not.
    """
    drawn = None
    if not requested:
        versions = list(shares)
        # The sum of the shares can round to less than u.
        drawn = versions[min(bisect_right(list(accumulate(shares.values())), u), len(versions) - 1)]
    prompt = library.get(name, requested or drawn or "")
    if prompt is None:
        known = ", ".join(library.list_versions(name))
        raise InvalidRequestError(
            "There is no such prompt version.", [FieldError("prompt_version", f"must be one of {known}")]
        )
    return SelectedPrompt(prompt, None if drawn is None else shares[drawn])

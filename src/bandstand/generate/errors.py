"""How generating tips fails. No ``detail`` here holds a gateway's words, a URL, a key or a task."""

from typing import ClassVar

from bandstand.bandit.errors import BandstandError


class GatewayError(BandstandError):
    """The model gateway answered, but with an error, a refusal or something that is no chat completion."""

    code = "gateway-error"


class NotJsonError(GatewayError):
    """What the model wrote is still not the JSON that was asked for, after every corrective try."""

    code = "gateway-not-json"


class GatewayUnreachableError(BandstandError):
    """The model gateway cannot be reached, or did not answer in time."""

    code = "gateway-unreachable"
    retry_after: ClassVar[int] = 5


class PromptError(BandstandError):
    """A prompt file that loaded well cannot be rendered with the values it is given."""

    code = "prompt"


class UnknownPromptError(BandstandError):
    """There is no prompt of that name and version."""

    code = "unknown-prompt"


class PromptsKeptError(BandstandError):
    """The prompts on disk cannot take over: without the default version, or unreadable. Those in service stay."""

    code = "prompts-kept"

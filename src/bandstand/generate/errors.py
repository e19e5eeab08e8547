"""How generating tips fails. No ``detail`` here holds a gateway's words, a URL, a key or a task."""

from bandstand.errors import BandstandError


class GatewayError(BandstandError):
    """The model gateway answered, but with an error, a refusal or something that is no chat completion."""

    code = "gateway-error"


class NotJsonError(GatewayError):
    """The model's reply is still not the requested JSON, after every corrective try."""

    code = "gateway-not-json"


class GatewayUnreachableError(BandstandError):
    """The model gateway cannot be reached, did not answer in time, or is left alone; ``retry_after`` is in seconds."""

    code = "gateway-unreachable"

    def __init__(self, detail: str, *, retry_after: int = 5) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class UnknownPromptError(BandstandError):
    """There is no prompt of that name and version."""

    code = "unknown-prompt"


class PromptsKeptError(BandstandError):
    """The prompts on disk cannot take over: without the default version, or unreadable. Those in service stay."""

    code = "prompts-kept"

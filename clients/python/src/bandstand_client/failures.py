"""What goes wrong at the service, a class for each problem: send the same again later."""

from bandstand_client.errors import ProblemError


class InternalError(ProblemError):
    """A fault of the service, which its log has under ``request_id``.

    Example:
        >>> with fake.refusing("internal"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.failures.InternalError: internal: the fake refuses
    """

    code = "internal"


class PromptError(ProblemError):
    """A prompt cannot be rendered with the values that it is given.

    Example:
        >>> with fake.refusing("prompt"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.failures.PromptError: prompt: the fake refuses
    """

    code = "prompt"


class GatewayError(ProblemError):
    """The model gateway answered with an error or a refusal.

    Example:
        >>> with fake.refusing("gateway-error"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.failures.GatewayError: gateway-error: the fake refuses
    """

    code = "gateway-error"


class GatewayNotJsonError(ProblemError):
    """What the model wrote is no list of tips, after two corrections.

    Example:
        >>> with fake.refusing("gateway-not-json"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.failures.GatewayNotJsonError: gateway-not-json: the fake refuses
    """

    code = "gateway-not-json"


class UnscoredError(ProblemError):
    """The judge's LLM was worth asking, and failed.

    Example:
        >>> with fake.refusing("unscored"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.failures.UnscoredError: unscored: the fake refuses
    """

    code = "unscored"


class GatewayUnreachableError(ProblemError):
    """The model gateway cannot be reached; scoring goes on without it.

    Example:
        >>> with fake.refusing("gateway-unreachable"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.failures.GatewayUnreachableError: gateway-unreachable: the fake refuses
    """

    code = "gateway-unreachable"


class OverloadedError(ProblemError):
    """Too much is waiting at the service already.

    Example:
        >>> with fake.refusing("overloaded"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.failures.OverloadedError: overloaded: the fake refuses
    """

    code = "overloaded"


class StorageUnavailableError(ProblemError):
    """The service is starting or stopping, or its disk answers with errors.

    Example:
        >>> with fake.refusing("storage-unavailable"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.failures.StorageUnavailableError: storage-unavailable: the fake refuses
    """

    code = "storage-unavailable"


class NotReadyError(ProblemError):
    """The service takes no events yet.

    Example:
        >>> with fake.refusing("not-ready"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.failures.NotReadyError: not-ready: the fake refuses
    """

    code = "not-ready"


class StorageFullError(ProblemError):
    """The service's disk is full; nothing acknowledged is lost.

    Example:
        >>> with fake.refusing("storage-full"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.failures.StorageFullError: storage-full: the fake refuses
    """

    code = "storage-full"


class UnsupportedByEngineError(ProblemError):
    """What keeps the service's state cannot do this.

    Example:
        >>> with fake.refusing("unsupported-by-engine"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.failures.UnsupportedByEngineError: unsupported-by-engine: the fake refuses
    """

    code = "unsupported-by-engine"

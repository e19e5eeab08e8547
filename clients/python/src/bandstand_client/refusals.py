"""What the service refuses, a class for each problem: change the request before it is sent again."""

from bandstand_client.errors import ProblemError


class HostRefusedError(ProblemError):
    """The service has no keys, and does not know the host name that it was called by.

    Example:
        >>> with fake.refusing("host-refused"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.HostRefusedError: host-refused: the fake refuses
    """

    code = "host-refused"


class UnauthorizedError(ProblemError):
    """No key was sent, or none that the service knows.

    Example:
        >>> with fake.refusing("unauthorized"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.UnauthorizedError: unauthorized: the fake refuses
    """

    code = "unauthorized"


class ForbiddenError(ProblemError):
    """The key's role does not reach this call.

    Example:
        >>> with fake.refusing("forbidden"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.ForbiddenError: forbidden: the fake refuses
    """

    code = "forbidden"


class NotFoundError(ProblemError):
    """The service has no such route: it is older than the client, or the URL has a wrong path.

    Example:
        >>> with fake.refusing("not-found"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.NotFoundError: not-found: the fake refuses
    """

    code = "not-found"


class MethodNotAllowedError(ProblemError):
    """The route has other methods: the service is older than the client.

    Example:
        >>> with fake.refusing("method-not-allowed"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.MethodNotAllowedError: method-not-allowed: the fake refuses
    """

    code = "method-not-allowed"


class RequestTimeoutError(ProblemError):
    """The request did not come whole in time.

    Example:
        >>> with fake.refusing("request-timeout"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.RequestTimeoutError: request-timeout: the fake refuses
    """

    code = "request-timeout"


class TooLargeError(ProblemError):
    """The request is over 1 MiB: send fewer or shorter candidates.

    Example:
        >>> with fake.refusing("too-large"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.TooLargeError: too-large: the fake refuses
    """

    code = "too-large"


class UnsupportedMediaTypeError(ProblemError):
    """The service did not take the request for JSON; a proxy may have changed it.

    Example:
        >>> with fake.refusing("unsupported-media-type"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.UnsupportedMediaTypeError: unsupported-media-type: the fake refuses
    """

    code = "unsupported-media-type"


class InvalidRequestError(ProblemError):
    """A field is missing, of the wrong type or out of range; ``errors`` names it.

    Example:
        >>> with fake.refusing("invalid-request"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.InvalidRequestError: invalid-request: the fake refuses
    """

    code = "invalid-request"


class UnknownPolicyError(ProblemError):
    """No policy of that name is configured.

    Example:
        >>> with fake.refusing("unknown-policy"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.UnknownPolicyError: unknown-policy: the fake refuses
    """

    code = "unknown-policy"


class UnknownDecisionError(ProblemError):
    """No such decision, or it was erased, or is older than the service keeps them.

    Example:
        >>> with fake.refusing("unknown-decision"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.UnknownDecisionError: unknown-decision: the fake refuses
    """

    code = "unknown-decision"


class DecisionConflictError(ProblemError):
    """The decision id names another request already.

    Example:
        >>> with fake.refusing("decision-conflict"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.DecisionConflictError: decision-conflict: the fake refuses
    """

    code = "decision-conflict"


class DecisionHeldError(ProblemError):
    """The decision was held back and not activated, so that nothing can have been said about it.

    Example:
        >>> with fake.refusing("decision-held"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.DecisionHeldError: decision-held: the fake refuses
    """

    code = "decision-held"


class PromotionRefusedError(ProblemError):
    """A setting says which policy is active, or there is nothing to go back to.

    Example:
        >>> with fake.refusing("promotion-refused"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.PromotionRefusedError: promotion-refused: the fake refuses
    """

    code = "promotion-refused"


class AlreadyRewardedError(ProblemError):
    """The decision has another reward already, which stands.

    Example:
        >>> with fake.refusing("already-rewarded"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.AlreadyRewardedError: already-rewarded: the fake refuses
    """

    code = "already-rewarded"


class RewardPendingError(ProblemError):
    """A turn that is still being judged holds the decision.

    Example:
        >>> with fake.refusing("reward-pending"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.RewardPendingError: reward-pending: the fake refuses
    """

    code = "reward-pending"


class UnknownJudgementError(ProblemError):
    """No such judgement, or its user was erased.

    Example:
        >>> with fake.refusing("unknown-judgement"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.UnknownJudgementError: unknown-judgement: the fake refuses
    """

    code = "unknown-judgement"


class JudgementExpiredError(ProblemError):
    """What the judgement taught cannot be told from the rest any more.

    Example:
        >>> with fake.refusing("judgement-expired"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.JudgementExpiredError: judgement-expired: the fake refuses
    """

    code = "judgement-expired"


class WrongPolicyError(ProblemError):
    """The decision was made by another policy than the call names.

    Example:
        >>> with fake.refusing("wrong-policy"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.WrongPolicyError: wrong-policy: the fake refuses
    """

    code = "wrong-policy"


class IdempotencyMismatchError(ProblemError):
    """The Idempotency-Key came with another body before.

    Example:
        >>> with fake.refusing("idempotency-mismatch"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.IdempotencyMismatchError: idempotency-mismatch: the fake refuses
    """

    code = "idempotency-mismatch"


class UnknownPromptError(ProblemError):
    """There is no prompt of that name and version.

    Example:
        >>> with fake.refusing("unknown-prompt"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.UnknownPromptError: unknown-prompt: the fake refuses
    """

    code = "unknown-prompt"


class PromptsKeptError(ProblemError):
    """The prompts on disk cannot take over; those in service go on.

    Example:
        >>> with fake.refusing("prompts-kept"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.PromptsKeptError: prompts-kept: the fake refuses
    """

    code = "prompts-kept"


class JudgeOffError(ProblemError):
    """The deployment judges nothing.

    Example:
        >>> with fake.refusing("judge-off"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.JudgeOffError: judge-off: the fake refuses
    """

    code = "judge-off"


class UnknownSimulationError(ProblemError):
    """No simulation of that number, or it was deleted.

    Example:
        >>> with fake.refusing("unknown-simulation"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.UnknownSimulationError: unknown-simulation: the fake refuses
    """

    code = "unknown-simulation"


class UnknownEvaluationError(ProblemError):
    """No evaluation of that number, or it was deleted.

    Example:
        >>> with fake.refusing("unknown-evaluation"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.UnknownEvaluationError: unknown-evaluation: the fake refuses
    """

    code = "unknown-evaluation"


class LearningModeError(ProblemError):
    """The loop's learning mode lets only the baseline serve, and another policy was named.

    Example:
        >>> with fake.refusing("learning-mode"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.LearningModeError: learning-mode: the fake refuses
    """

    code = "learning-mode"


class UnknownLoopError(ProblemError):
    """No loop of that name.

    Example:
        >>> with fake.refusing("unknown-loop"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.UnknownLoopError: unknown-loop: the fake refuses
    """

    code = "unknown-loop"


class LoopRefusedError(ProblemError):
    """The loop cannot be made, changed or deleted so.

    Example:
        >>> with fake.refusing("loop-refused"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.LoopRefusedError: loop-refused: the fake refuses
    """

    code = "loop-refused"


class ClientGoneError(ProblemError):
    """The service saw the caller hang up; only its log shows this.

    Example:
        >>> with fake.refusing("client-gone"):
        ...     fake_client.health()
        Traceback (most recent call last):
            ...
        bandstand_client.refusals.ClientGoneError: client-gone: the fake refuses
    """

    code = "client-gone"

"""The schema of an estimate with its interval."""

from bandstand.api.schemas.learning import AnswerBody


class Valued(AnswerBody):
    """An estimate of the mean reward, and its normal interval of 95 %; null if there are too few rewards."""

    value: float
    stderr: float | None
    low: float | None
    high: float | None

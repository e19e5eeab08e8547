"""The judges of a deployment, one for each taxonomy."""

from collections.abc import Mapping

from bandstand.errors import FieldError, InvalidRequestError
from bandstand.judge.cascade import CascadeJudge
from bandstand.judge.taxonomy import Taxonomy


class JudgeRegistry:
    """Judges by taxonomy.

    Args:
        judges: by the name of their taxonomy.
        default: the taxonomy of turns that name none.
    """

    def __init__(self, judges: Mapping[str, CascadeJudge], default: str) -> None:
        self._judges = dict(judges)
        self.default = default

    def get_judge(self, taxonomy: str | None = None) -> CascadeJudge:
        """Return the judge of a taxonomy, the default one if none is named.

        Raises:
            InvalidRequestError: there is no such taxonomy.
        """
        judge = self._judges.get(self.default if taxonomy is None else taxonomy)
        if judge is None:
            fault = FieldError("taxonomy", f"must be one of {', '.join(self._judges)}")
            raise InvalidRequestError(f"{fault.field}: {fault.message}", [fault])
        return judge

    @property
    def taxonomies(self) -> tuple[Taxonomy, ...]:
        """Every taxonomy, in order."""
        return tuple(judge.taxonomy for judge in self._judges.values())

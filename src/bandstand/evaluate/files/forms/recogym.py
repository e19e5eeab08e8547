"""RecoGym's frames: organic rows (a user looked at product ``v``) and bandit rows (``a`` was shown, ``c`` clicked).

A bandit row is a decision over all products, each with ``views``, how often this user has looked at it before: what
RecoGym's own agents learn from. ``ps`` is the pick's probability, ``ps-a`` those of all products, where it was kept.

Source: recogym/envs/abstract.py, ``generate_logs`` (Rohde, Bonner, Dunlop, Vasile & Karatzoglou, 2018).
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.cells import is_missing, parse_list, read_vector, to_text
from bandstand.evaluate.files.forms.form import RecordedDecision, read_index, read_number

_COLUMNS: Final = {"u", "z", "v", "a", "c", "ps"}
_ORGANIC, _BANDIT = "organic", "bandit"
_RECOGYM: Final = "recogym"


class RecogymForm:
    """Rows of RecoGym's logs, those of a user in order."""

    name: ClassVar = "recogym"

    def __init__(self) -> None:
        self._products = 0
        self._views: defaultdict[str, Counter[int]] = defaultdict(Counter)

    @classmethod
    def recognises(cls, names: Collection[str]) -> bool:
        """The columns that no other log has together."""
        return set(names) >= _COLUMNS

    def survey(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Count the products: the length of ``ps-a``, else the highest number that occurs."""
        for record in records:
            listed = _read_list(record.get("ps-a"))
            if listed:
                self._products = len(listed)
                return
            for name in ("v", "a"):
                if not is_missing(record.get(name)):
                    self._products = max(self._products, 1 + read_index(record, name))

    def parse(self, record: Mapping[str, Any]) -> Iterator[RecordedDecision]:
        """Read a row; an organic one gives nothing, and is counted.

        Raises:
            EvaluationError: it is neither, or a number is missing or out of range.
        """
        user, kind = to_text(record.get("u")), to_text(record.get("z"))
        views = self._views[user]
        if kind == _ORGANIC:
            views[read_index(record, "v")] += 1
            return
        if kind != _BANDIT:
            raise EvaluationError(f"z: is neither {_ORGANIC} nor {_BANDIT}")
        pick, propensity = read_index(record, "a"), read_number(record, "ps")
        if pick >= self._products:
            raise EvaluationError(f"a: is not in [0, {self._products})")
        if not 0 < propensity <= 1:
            raise EvaluationError("ps: is not in (0, 1]")
        yield RecordedDecision(
            user_id=user,
            context={"views": sum(views.values())},
            candidates=[
                {"id": str(number), "features": {"product": str(number), "views": views[number]}}
                for number in range(self._products)
            ],
            pick=pick,
            propensity=propensity,
            propensities=_read_list(record.get("ps-a")) or (),
            reward=None if is_missing(record.get("c")) else read_number(record, "c"),
            policy=_RECOGYM,
            ts=0.0 if is_missing(record.get("t")) else max(0.0, read_number(record, "t")),
        )


def _read_list(value: object) -> list[float] | None:
    return parse_list(value) if isinstance(value, str) else read_vector(value)

"""Which columns of a file hold what an estimator takes."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

from bandstand.evaluate.errors import EvaluationError

_MAX_LISTED = 12


class Layout(NamedTuple):
    """The columns to read, by their names in the file.

    Attributes:
        reward: what was observed; empty where no reward came.
        propensity: probability with which the logger drew its action.
        target: the target policy's probability of the logged action; or, where ``action`` is read, of each action.
        action: index of the logged action.
        q_hat: modelled reward of each action; none where no estimator has a model.
    """

    reward: str
    propensity: str
    target: tuple[str, ...]
    action: str | None = None
    q_hat: tuple[str, ...] = ()

    @property
    def column_names(self) -> list[str]:
        """Every column to read, each once."""
        action = () if self.action is None else (self.action,)
        return list(dict.fromkeys((self.reward, self.propensity, *action, *self.target, *self.q_hat)))


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns are called; ``target`` and ``q_hat`` stand for ``target_0``, ``target_1`` and so on too.

    Attributes:
        reward: what was observed.
        propensity: probability with which the logger drew its action.
        action: index of that action.
        target: the target policy's probability of that action; numbered, of each action.
        q_hat: numbered, the modelled mean reward of each action.
    """

    reward: str = "reward"
    propensity: str = "propensity"
    action: str = "action"
    target: str = "target"
    q_hat: str = "q_hat"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what differs from the names above.

        Raises:
            EvaluationError: a part is not NAME=COLUMN, or the name is none of ours.

        >>> Columns.parse("reward=click,propensity=pscore")
        Columns(reward='click', propensity='pscore', action='action', target='target', q_hat='q_hat')
        """
        known = [field.name for field in fields(cls)]
        named: dict[str, str] = {}
        for part in text.split(","):
            name, _, column = (word.strip() for word in part.partition("="))
            if not column:
                raise EvaluationError(f"columns must be NAME=COLUMN, where NAME is one of {', '.join(known)}")
            if name not in known:
                raise EvaluationError(f"columns: {name!r} is none of ours; {_format_hint(name, known)}")
            named[name] = column
        return cls(**named)

    def find_layout(self, header: Collection[str], *, model: bool = False) -> Layout:
        """Find the columns in a file that has those of ``header``; ``model`` asks for ``q_hat``.

        Raises:
            EvaluationError: a column is missing; says what there is instead.
        """
        self._require_column("reward", self.reward, header)
        self._require_column("propensity", self.propensity, header)
        if self.target in header and not model:
            return Layout(self.reward, self.propensity, (self.target,))
        targets = _find_numbered_columns(self.target, header)
        if not targets and self.target in header:
            raise EvaluationError(
                f"an estimator with a model needs the probability of every action, {self.target}_0, {self.target}_1 "
                f"and so on; {self.target!r} is that of the logged action alone"
            )
        if not targets:
            self._require_column("target", f"{self.target}_0" if model else self.target, header)
        self._require_column("action", self.action, header)
        models = _find_numbered_columns(self.q_hat, header) if model else ()
        if model and len(models) < len(targets):
            self._require_column("q_hat", f"{self.q_hat}_{len(models)}", header)
        if len(models) > len(targets):
            raise EvaluationError(f"there are {len(models)} columns of q_hat and {len(targets)} of target")
        return Layout(self.reward, self.propensity, targets, self.action, models)

    def describe_column(self, name: str) -> str:
        """Say what an error should call one of our names: with the file's column, where that is another."""
        column: str = getattr(self, name, name)
        return name if column == name else f"{name} (column {column!r})"

    @staticmethod
    def _require_column(name: str, column: str, header: Collection[str]) -> None:
        if column not in header:
            stem = column.removesuffix("_0")
            both = f" (nor {stem}_0, {stem}_1, …)" if name == "target" and column == stem else ""
            raise EvaluationError(
                f"there is no column {column!r}{both}; {_format_hint(column, header)}; "
                f"name it with --columns {name}=COLUMN"
            )


def _find_numbered_columns(stem: str, header: Collection[str]) -> tuple[str, ...]:
    """Return stem_0, stem_1 and so on; a gap in the numbers is an error."""
    count = sum(name.startswith(f"{stem}_") and name[len(stem) + 1 :].isdecimal() for name in header)
    names = tuple(f"{stem}_{number}" for number in range(count))
    for name in names:
        if name not in header:
            raise EvaluationError(f"there are {count} numbered columns of {stem}, and {name!r} is none of them")
    return names


def _format_hint(word: str, allowed: Collection[str]) -> str:
    close = difflib.get_close_matches(word, allowed, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = list(allowed)
    return f"there are {', '.join(shown[:_MAX_LISTED])}{', …' if len(shown) > _MAX_LISTED else ''}"

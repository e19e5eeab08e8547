"""Which columns of a file hold what an estimator takes."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass, fields
from itertools import takewhile
from typing import NamedTuple, Self

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.table import Header

_MAX_LISTED = 12


class Layout(NamedTuple):
    """The columns to read, by their names in the file.

    Attributes:
        reward: what was observed; empty where no reward came.
        propensity: probability with which the logger drew its action.
        target: the target policy's probability of the logged action; or, where ``action`` is read, of each action: in
            a column each, or in one column of lists.
        action: the logged action, by index or by name.
        q_hat: modelled reward of each action; none where no estimator has a model.
        propensities: of each action, where the file has them: what ``propensity`` is checked against.
        names: of the actions, where the file names them; their order is that of ``target``.
    """

    reward: str
    propensity: str
    target: tuple[str, ...]
    action: str | None = None
    q_hat: tuple[str, ...] = ()
    propensities: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def column_names(self) -> list[str]:
        """Every column to read, each once."""
        action = () if self.action is None else (self.action,)
        return list(
            dict.fromkeys((self.reward, self.propensity, *action, *self.target, *self.q_hat, *self.propensities))
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns are called.

    ``target``, ``q_hat`` and ``propensities`` stand for ``target_0``, ``target_1`` and so on too, for ``target_NAME``
    where actions have names, and for one column of lists.

    Attributes:
        reward: what was observed.
        propensity: probability with which the logger drew its action.
        action: index of that action, or its name.
        target: the target policy's probability of that action; of several, of each action.
        q_hat: the modelled mean reward of each action.
        propensities: the logger's probability of each action.
    """

    reward: str = "reward"
    propensity: str = "propensity"
    action: str = "action"
    target: str = "target"
    q_hat: str = "q_hat"
    propensities: str = "propensities"

    @classmethod
    def recognise(cls, names: Collection[str]) -> Self:
        """Return what the columns of a file with these names are called, where it is of a known tool.

        Known are the Open Bandit Pipeline's feedback, and the Open Bandit Dataset.

        >>> Columns.recognise(["action", "reward", "pscore", "action_dist"]).target
        'action_dist'
        """
        if "pscore" in names and "propensity" not in names:
            called = {"target": "action_dist", "q_hat": "estimated_rewards_by_reg_model", "propensities": "pi_b"}
            return cls(propensity="pscore", **{ours: theirs for ours, theirs in called.items() if theirs in names})
        if {"click", "propensity_score", "item_id"} <= set(names) and "propensity" not in names:
            return cls(reward="click", propensity="propensity_score", action="item_id")
        return cls()

    def is_row_log(self, header: Header) -> bool:
        """Return whether a file with these columns holds the target policy's probabilities."""
        return bool(_find_columns(self.target, header)[0])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what differs from the names above.

        Raises:
            EvaluationError: a part is not NAME=COLUMN, or the name is unknown.

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
                raise EvaluationError(f"columns: {name!r} is not a known name; {_format_hint(name, known)}")
            named[name] = column
        return cls(**named)

    def find_layout(self, header: Header, *, model: bool = False) -> Layout:
        """Find the columns in a file that has those of ``header``; ``model`` asks for ``q_hat``.

        Raises:
            EvaluationError: a column is missing; says what there is instead.
        """
        if not header.open:  # the first object may be one without a reward
            self._require_column("reward", self.reward, header)
        self._require_column("propensity", self.propensity, header)
        targets, names = _find_columns(self.target, header, wide=model)
        if targets == (self.target,) and self.target not in header.vectors:
            propensities, names = self._find_propensities(header) if self.action in header.names else ((), ())
            action = self.action if propensities else None
            return Layout(self.reward, self.propensity, targets, action, (), propensities, names)
        if not targets and self.target in header.names:
            raise EvaluationError(
                f"an estimator with a model needs the probability of every action, {self.target}_0, {self.target}_1 "
                f"and so on; {self.target!r} is that of the logged action alone"
            )
        if not targets:
            self._require_column("target", f"{self.target}_0" if model else self.target, header)
        self._require_column("action", self.action, header)
        models = self._find_models(header, targets, names) if model else ()
        propensities, _ = self._find_propensities(header, names)
        return Layout(self.reward, self.propensity, targets, self.action, models, propensities, names)

    def _find_models(self, header: Header, targets: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
        models, _ = _find_columns(self.q_hat, header, names, wide=True)
        if models == (self.q_hat,) or targets == (self.target,):
            if not models:
                self._require_column("q_hat", self.q_hat, header)
            return models
        if len(models) < len(targets):
            missing = names[0] if names else len(models)
            self._require_column("q_hat", f"{self.q_hat}_{missing}", header)
        if len(models) > len(targets):
            raise EvaluationError(f"there are {len(models)} columns of q_hat and {len(targets)} of target")
        return models

    def _find_propensities(
        self, header: Header, names: tuple[str, ...] = ()
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Find the logger's probability of every action, and, if not ``names``, what these are called."""
        found, called = _find_columns(self.propensities, header, names, wide=True)
        if found or self.propensity in header.vectors:
            return found, called
        numbered = tuple(f"{self.propensity}_{number}" for number in range(len(header.names)))
        columns = tuple(f"{self.propensity}_{name}" for name in names) or tuple(
            takewhile(header.names.__contains__, numbered)
        )
        # A single one, or one of another name, is some other propensity.
        return (columns, names) if len(columns) > 1 and set(columns) <= set(header.names) else ((), ())

    def describe_column(self, name: str) -> str:
        """Say what an error should call one of our names: with the file's column, where that is another."""
        column: str = getattr(self, name, name)
        return name if column == name else f"{name} (column {column!r})"

    @staticmethod
    def _require_column(name: str, column: str, header: Header) -> None:
        if column not in header.names:
            stem = column.removesuffix("_0")
            both = f" (nor {stem}_0, {stem}_1, …)" if name == "target" and column == stem else ""
            raise EvaluationError(
                f"there is no column {column!r}{both}; {_format_hint(column, header.names)}; "
                f"name it with --columns {name}=COLUMN"
            )


def _find_columns(
    stem: str, header: Header, names: tuple[str, ...] = (), *, wide: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find the columns of one quantity, and the names of the actions that they are of, where these have any.

    Args:
        stem: what the quantity is called.
        header: the file's columns.
        names: of the actions, where they are known already; only columns of all of them are found then.
        wide: leave out a column of single numbers.
    """
    if stem in header.vectors:
        return (stem,), header.keys.get(stem, ())
    if stem in header.names and not wide:
        return (stem,), ()
    if names:
        columns = tuple(f"{stem}_{name}" for name in names)
        return (columns, names) if set(columns) <= set(header.names) else ((), ())
    if numbered := _find_numbered_columns(stem, header.names):
        return numbered, ()
    called = tuple(name[len(stem) + 1 :] for name in header.names if name.startswith(f"{stem}_"))
    return tuple(f"{stem}_{name}" for name in called), called


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

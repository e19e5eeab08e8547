"""The local text model: softmax regression over hashed features, a few hundred kilobytes of weights, numpy only.

p(label) = softmax((Σ_f scale_f/√|f| Σ_{i∈f} w_i + b) / T), where f runs over the families of features, w are 8-bit
weights with one step size a label, and T is the temperature that makes p honest on sentences the weights have not seen.
"""

import hashlib
import io
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from operator import itemgetter
from typing import Any, Final, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from bandstand.errors import ConfigurationError
from bandstand.judge.local.ngrams import BUCKETS, VERSION, Buckets, Ids, extract_buckets
from bandstand.judge.local.normalise import NormalisedTurn, normalise_turn
from bandstand.judge.local.signal import has_signal, report_no_signal
from bandstand.judge.local.target import find_target
from bandstand.judge.taxonomy import POLARITIES, Polarity, Taxonomy, shipped_taxonomy
from bandstand.judge.turn import CutTurn
from bandstand.judge.verdict import Judged, Target, Verdict

Floats = NDArray[np.float64]

FORMAT: Final = 1
"""Of the weights file; a later version must still read this one."""

_STEPS: Final = 127
_HASH_DIGITS: Final = 16


@dataclass(frozen=True, eq=False, slots=True)
class Weights:
    """Everything learned, as it is stored.

    Attributes:
        name: for verdicts and people.
        taxonomy: the taxonomy's name.
        labels: in the order of the columns.
        table: int8, shape (BUCKETS, labels).
        steps: float32, shape (labels,): the size of one unit of a column.
        bias: float32, shape (labels,).
        temperature: the logits are divided by it.
    """

    name: str
    taxonomy: str
    labels: tuple[str, ...]
    table: NDArray[np.int8]
    steps: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float

    @classmethod
    def from_floats(
        cls,
        weights: Floats,
        bias: Floats,
        *,
        name: str,
        taxonomy: Taxonomy,
        temperature: float,
    ) -> Self:
        """Round weights of shape (BUCKETS, labels) to 8 bits a column."""
        steps = np.maximum(np.abs(weights).max(axis=0), 1e-9) / _STEPS
        return cls(
            name=name,
            taxonomy=taxonomy.name,
            labels=taxonomy.label_names,
            table=np.rint(weights / steps).astype(np.int8),
            steps=steps.astype(np.float32),
            bias=np.round(bias, 6).astype(np.float32),
            temperature=round(temperature, 6),
        )

    @property
    def hash(self) -> str:
        """Sixteen hex digits over every stored number; equal weights have equal hashes on every machine."""
        digest = hashlib.sha256(json.dumps(self._build_header(), sort_keys=True).encode())
        for array in (self.table, self.steps, self.bias):
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()[:_HASH_DIGITS]

    def to_logit_floats(self) -> tuple[Floats, Floats]:
        """Return weights and bias as the numbers that give logits, the temperature divided out."""
        steps = self.steps.astype(np.float64) / self.temperature
        return self.table.astype(np.float64) * steps, self.bias.astype(np.float64) / self.temperature

    def require_labels_of(self, taxonomy: Taxonomy) -> None:
        """Make sure that these weights are for a taxonomy's labels.

        Raises:
            ConfigurationError: they were trained for others.
        """
        if self.labels != taxonomy.label_names:
            raise ConfigurationError(f"weights {self.name} were trained for other labels than {taxonomy.name} has")

    def to_bytes(self) -> bytes:
        """Return a file that :meth:`from_bytes` reads; the same weights always give the same bytes."""
        file = io.BytesIO()
        header = np.frombuffer(
            json.dumps(self._build_header() | {"hash": self.hash}, sort_keys=True).encode(), np.uint8
        )
        np.savez(file, header=header, table=self.table, steps=self.steps, bias=self.bias)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read a weights file.

        Raises:
            ConfigurationError: it is no such file, was damaged, or belongs to another version of the features.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                header: dict[str, Any] = json.loads(arrays["header"].tobytes())
                table, steps, bias = arrays["table"], arrays["steps"], arrays["bias"]
        except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise ConfigurationError("the judge's weights are no weights file") from error
        if header.get("format") != FORMAT or header.get("features") != VERSION:
            raise ConfigurationError("the judge's weights belong to another version; train them again")
        labels = tuple(header["labels"])
        if table.shape != (BUCKETS, len(labels)):
            raise ConfigurationError("the judge's weights are damaged: their table has the wrong shape")
        weights = cls(header["name"], header["taxonomy"], labels, table, steps, bias, float(header["temperature"]))
        if weights.hash != header["hash"]:
            raise ConfigurationError("the judge's weights are damaged: their hash is not the one written in them")
        return weights

    def _build_header(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "features": VERSION,
            "name": self.name,
            "taxonomy": self.taxonomy,
            "labels": list(self.labels),
            "temperature": self.temperature,
        }


class Classifier:
    """The text model alone; itself the tier "classifier".

    Args:
        weights: learned for ``taxonomy``.
        taxonomy: whose labels it gives.

    Raises:
        ConfigurationError: the weights' labels are not the taxonomy's.
    """

    name: Final = "classifier"

    def __init__(self, weights: Weights, taxonomy: Taxonomy) -> None:
        weights.require_labels_of(taxonomy)
        self.taxonomy = taxonomy
        self.model = f"{weights.name}@{weights.hash[:8]}"
        self._table = np.ascontiguousarray(weights.table)
        steps = weights.steps.astype(np.float64) / weights.temperature
        self._bias = weights.bias.astype(np.float64) / weights.temperature
        self._takes_stand = np.array([label.polarity != "other" for label in taxonomy.labels])
        self._steps = steps

    @classmethod
    def shipped(cls, taxonomy: str) -> Self:
        """Load the shipped model for ``followup-v1`` or ``correction-v1``."""
        return cls(shipped_weights(taxonomy), shipped_taxonomy(taxonomy))

    @property
    def table(self) -> NDArray[np.int8]:
        """The weights, shape (BUCKETS, labels)."""
        return self._table

    def predict_probabilities(
        self, normalised: NormalisedTurn, buckets: Buckets | None = None, sums: NDArray[np.int64] | None = None
    ) -> Floats:
        """Return the probability of every label, shape (labels,), in the taxonomy's order; sums to 1.

        Where nothing of a message speaks of the answer, no label takes a stand.

        Args:
            normalised: the turn.
            buckets: the turn's, where the caller has them already.
            sums: those of :func:`sum_rows` over :attr:`table`, likewise.
        """
        buckets = extract_buckets(normalised) if buckets is None else buckets
        sums = sum_rows(self._table, buckets.ids, buckets) if sums is None else sums
        logits = self._bias + np.add.reduce(sums * buckets.weights[:, None]) * self._steps
        if normalised.is_aside:
            logits = np.where(self._takes_stand, -np.inf, logits)
        # The reductions of ufuncs, because an array's own cost more than what they do to a dozen numbers.
        odds = np.exp(logits - np.maximum.reduce(logits))
        return np.asarray(odds / np.add.reduce(odds))

    def verdict(self, turn: CutTurn) -> Verdict:
        """Return the most probable label with its probability."""
        normalised = normalise_turn(turn)
        return build_verdict(
            self.predict_probabilities(normalised),
            self.taxonomy,
            tier=self.name,
            model=self.model,
            rationale="by its wording",
            normalised=normalised,
        )

    async def judge(self, turn: CutTurn) -> Judged:
        """Return :meth:`verdict`, as every tier does; no verdict where the message says nothing."""
        if not has_signal(turn):
            return report_no_signal(taxonomy=self.taxonomy.name, tier=self.name, model=self.model)
        return self.verdict(turn)


def sum_rows(table: NDArray[np.int8], rows: Ids, buckets: Buckets) -> NDArray[np.int64]:
    """Return the sums of a table's rows over each family that is not empty, shape (filled families, columns).

    Integers are summed exactly, so the order of the buckets cannot matter.

    Args:
        table: the table.
        rows: of each bucket, its row.
        buckets: whose families are summed.
    """
    return np.add.reduceat(table.take(rows, axis=0), buckets.filled, axis=0, dtype=np.int64)


@cache
def shipped_weights(taxonomy: str) -> Weights:
    """Load the weights that ship with Bandstand for one of its taxonomies: once, for all judges of a process."""
    return Weights.from_bytes(resources.files("bandstand.judge").joinpath("data", f"{taxonomy}.npz").read_bytes())


def build_verdict(  # noqa: PLR0913 (each is a part of the verdict)
    probabilities: Floats,
    taxonomy: Taxonomy,
    *,
    tier: str,
    model: str,
    rationale: str,
    normalised: NormalisedTurn,
    rule: str | None = None,
    target: Target | None = None,
    stated: Target | None = None,
) -> Verdict:
    """Make a verdict of label probabilities: the polarity with the most mass, and within it the likeliest label.

    Polarity goes first because the sign of a reward matters more than its size: three negative labels at 0.2 each
    outweigh a neutral at 0.4.

    Args:
        probabilities: shape (labels,), in the taxonomy's order.
        taxonomy: whose labels they are.
        tier: who says so.
        model: what exactly.
        rationale: why, in one line.
        normalised: the turn, from which the target is found.
        rule: the rule that counts, if there is one.
        target: what the message speaks of, where that is known already.
        stated: the target that a rule states, if one does.
    """
    pairs = list(zip(taxonomy.labels, probabilities.tolist(), strict=True))
    mass = {"negative": 0.0, "positive": 0.0, "other": 0.0}
    for label, p in pairs:
        mass[label.polarity] += p
    polarity: Polarity = max(POLARITIES, key=mass.__getitem__)
    chosen, confidence = max([pair for pair in pairs if pair[0].polarity == polarity], key=itemgetter(1))
    return Verdict(
        taxonomy=taxonomy.name,
        label=chosen.name,
        confidence=min(confidence, 1.0),
        rationale=rationale,
        tier=tier,
        model=model,
        probabilities=tuple([(label.name, p if p < 1 else 1.0) for label, p in pairs]),
        rule=rule,
        target=target or find_target(normalised, polarity, stated),
        about=bool(normalised.about),
    )

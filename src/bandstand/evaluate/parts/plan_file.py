"""The file that says what the parts of an evaluation are, so that a process that makes one needs nothing else."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

from bandstand.atomic_file import replace_file
from bandstand.bandit.policies import Policy
from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.files.row_file import RowReader
from bandstand.evaluate.parts.event_parts import EventQuestion
from bandstand.store.sqlite.errors import storage_errors

VERSION: Final = 1


class PartFile(NamedTuple):
    """A file of a part, as it was when the plan was made.

    Attributes:
        name: what errors call it.
        path: where it is, from where the commands are run.
        digest: SHA-256 of what it holds.
    """

    name: str
    path: str
    digest: str


class PlannedPart(NamedTuple):
    """One part.

    Attributes:
        files: in order.
        first_row: rows of the log before it that count.
        learned: digest of the file that holds what it begins with; empty where it begins with nothing.
    """

    files: tuple[PartFile, ...]
    first_row: int
    learned: str = ""


class PlannedPolicy(NamedTuple):
    """A policy that is evaluated.

    Attributes:
        name: what it is called.
        definition: hash of its definition and its schema; empty where its probabilities stand in the file.
        schema: what it reads; None if it believes nothing.
    """

    name: str
    definition: str = ""
    schema: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartedPlan:
    """An evaluation in parts.

    Attributes:
        kind: whether the log holds rows, or is one that was exported.
        source: what the report calls the log.
        question: what is asked.
        training: in what state the policies are evaluated, in a few words.
        policies: each once.
        refresh_rewards: after how many rewards a prior is learned again; None as they grow.
        reader: how rows are read; None of an exported log.
        parts: numbered from 0.
    """

    kind: Literal["rows", "events"]
    source: str
    question: EventQuestion
    training: str
    policies: tuple[PlannedPolicy, ...]
    refresh_rewards: int | None
    reader: RowReader | None
    parts: tuple[PlannedPart, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "version": VERSION,
            "kind": self.kind,
            "source": self.source,
            "question": self.question.to_json(),
            "training": self.training,
            "policies": [policy._asdict() for policy in self.policies],
            "refresh_rewards": self.refresh_rewards,
            "reader": None if self.reader is None else self.reader.to_json(),
            "parts": [part._asdict() | {"files": [file._asdict() for file in part.files]} for part in self.parts],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read :meth:`to_json` back."""
        return cls(
            kind=document["kind"],
            source=document["source"],
            question=EventQuestion.from_json(document["question"]),
            training=document["training"],
            policies=tuple(PlannedPolicy(**policy) for policy in document["policies"]),
            refresh_rewards=document["refresh_rewards"],
            reader=None if document["reader"] is None else RowReader.from_json(document["reader"]),
            parts=tuple(
                PlannedPart(**{**part, "files": tuple(PartFile(**file) for file in part["files"])})
                for part in document["parts"]
            ),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of everything in it."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def get_part(self, number: int) -> PlannedPart:
        """The part of that number.

        Raises:
            EvaluationError: there is no such part.
        """
        if not 0 <= number < len(self.parts):
            raise EvaluationError(f"there is no part {number}: the plan's are 0 to {len(self.parts) - 1}")
        return self.parts[number]

    def require_same_policies(self, policies: Iterable[Policy]) -> None:
        """Refuse configured policies that are not those of the plan.

        Raises:
            EvaluationError: the definition of one has changed.
        """
        for planned, policy in zip(self.policies, policies, strict=True):
            if compute_definition(policy) != planned.definition:
                raise EvaluationError(
                    f"policy {policy.name} is not defined here as it was where the plan was made; plan again"
                )


def compute_definition(policy: Policy) -> str:
    """A hash of a policy's definition and of its schema's."""
    return hashlib.sha256(f"{policy.hash}/{policy.schema.hash}".encode()).hexdigest()


def get_learned_path(plan: Path, number: int) -> Path:
    """The path of a part's initial state: in a folder beside the plan."""
    return plan.with_name(f"{plan.name}.learned") / f"{number}.json.zst"


def write_plan(path: Path, plan: PartedPlan) -> None:
    """Write a plan, with its digest.

    Raises:
        StorageFullError, StorageUnavailableError: the disk refused.
    """
    document = {"digest": plan.digest, "plan": plan.to_json()}
    with storage_errors(path), replace_file(path) as partial:
        partial.write_text(json.dumps(document, indent=1), "ascii")


def read_plan(path: Path) -> PartedPlan:
    """Read what :func:`write_plan` wrote.

    Raises:
        EvaluationError: it is not there, no plan, of another version, or changed since.
    """
    document = read_document(path, "a plan")
    try:
        if document["plan"]["version"] != VERSION:
            raise EvaluationError(f"{path}: is a plan of another version; this build reads {VERSION}")
        plan = PartedPlan.from_json(document["plan"])
        is_whole = document["digest"] == plan.digest
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, EvaluationError):
            raise
        raise EvaluationError(f"{path}: is no plan") from None
    if not is_whole:
        raise EvaluationError(f"{path}: was changed since it was planned; plan again")
    return plan


def read_document(path: Path, kind: str) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        EvaluationError: it cannot be read, or is not a plan.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise EvaluationError(f"{path}: is not {kind}, or not all of one")
    return document


def compute_digest(path: Path) -> str:
    """SHA-256 of what a file holds.

    Raises:
        EvaluationError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EvaluationError(f"{path}: {error.strerror}") from None


def require_unchanged(part: PlannedPart) -> None:
    """Refuse files that are not as they were when the plan was made.

    Raises:
        EvaluationError: one has changed, or is gone; names it.
    """
    for file in part.files:
        if compute_digest(Path(file.path)) != file.digest:
            raise EvaluationError(f"{file.name}: has changed since the plan was made; plan again")

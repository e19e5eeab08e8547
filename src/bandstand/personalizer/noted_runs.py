"""Runs that were requested over this wire, found again by the note stored with each."""

import json
from typing import Any, Final

from bandstand.api.schemas.requests import validate_id
from bandstand.errors import InvalidRequestError
from bandstand.evaluate.background import EvaluationQueue
from bandstand.personalizer.errors import PersonalizerError
from bandstand.personalizer.routing import PersonalizerRequest
from bandstand.store.tables.run_table import RunRecord

_PAGE: Final = 200
_MAX_LISTED: Final = 10_000


class NotedRuns:
    """The runs of one kind; each has an id of its own, which the caller may have chosen.

    Args:
        runs: has them made.
        kind: the key under which a plan keeps the note.
        unknown: the wire's error code for an unknown id.
    """

    def __init__(self, runs: EvaluationQueue, kind: str, unknown: str) -> None:
        self.queue = runs
        self._kind = kind
        self._unknown = unknown

    def read_note(self, run: RunRecord) -> dict[str, Any]:
        """The note; empty if the run is of another kind."""
        note: dict[str, Any] = json.loads(run.plan).get("note", {}).get(self._kind, {})
        return note

    async def list_all(self) -> list[RunRecord]:
        """All of them, the newest first, without what came out."""
        found: list[RunRecord] = []
        before: int | None = None
        while True:
            page = await self.queue.list_page(before=before, limit=_PAGE)
            found += [run for run in page if self.read_note(run)]
            if len(page) < _PAGE:
                return found
            before = page[-1].id

    async def list_page(self, request: PersonalizerRequest, kind: str | None = None) -> list[RunRecord]:
        """Those that a list asks for by ``top`` and ``skip``; with ``kind`` those that are noted to be of it.

        Raises:
            PersonalizerError: these are no numbers.
        """
        skip = _read_count(request, "skip") or 0
        top = _read_count(request, "top")
        found = await self.list_all()
        listed = [run for run in found if kind is None or self.read_note(run).get("kind", "Manual") == kind][skip:]
        return listed if top is None else listed[:top]

    async def require_free(self, run_id: str, kind: str) -> str:
        """The id that a caller wants for a new run.

        Args:
            run_id: as the path has it.
            kind: what such a run is called.

        Raises:
            PersonalizerError: it is no id, or there is a run of it.
        """
        try:
            validate_id(run_id, "id")
        except InvalidRequestError as error:
            raise PersonalizerError(400, "InvalidEvaluationContract", error.detail) from None
        if await self.find(run_id) is not None:
            raise PersonalizerError(400, "EvaluationAlreadyExists", f"there is {kind} of that id")
        return run_id

    async def find(self, run_id: str) -> RunRecord | None:
        """The run of an id, without what came out; ``None`` for none."""
        return next((run for run in await self.list_all() if self.read_note(run)["id"] == run_id), None)

    async def require(self, run_id: str) -> RunRecord:
        """The run of an id, with what came out.

        Raises:
            PersonalizerError: there is none.
        """
        run = await self.find(run_id)
        if run is None:
            raise PersonalizerError(404, self._unknown, "no run has that id")
        return await self.queue.get(run.id)

    async def delete(self, run_id: str) -> None:
        """End the run of an id and forget it.

        Raises:
            PersonalizerError: there is none.
        """
        await self.queue.delete((await self.require(run_id)).id)


def _read_count(request: PersonalizerRequest, name: str) -> int | None:
    text = request.get_parameter(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= _MAX_LISTED):
        raise PersonalizerError(400, "BadRequest", f"{name}: must be a whole number up to {_MAX_LISTED}")
    return int(text)

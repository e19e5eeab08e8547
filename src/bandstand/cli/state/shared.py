"""``bandstand state verify`` and ``rebuild`` where ``STATE_URL`` names the ledger."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import typer

from bandstand.cli.report import show_progress, show_result
from bandstand.cli.state.directory import StateLocation
from bandstand.errors import InvalidRequestError
from bandstand.store.maintenance.export import ImportSource, render_line
from bandstand.store.maintenance.import_ import ImportResult
from bandstand.store.maintenance.offline import Tick
from bandstand.store.records import first_seq_at

_LAST_KEY = 2**63 - 1
_ERASURE_S = 60
EXIT_MISMATCH = 1
"""The exit code of a verification that found something to repair."""


def verify_shared_state(location: StateLocation, *, everybody: bool, as_json: bool) -> None:
    """Compare checkpoints and totals with the events; ends the command with 1 if anything is wrong."""
    from bandstand.store.maintenance.shared_verify import verify_shared  # noqa: PLC0415 (its driver is an extra)

    assert location.address is not None  # noqa: S101 (whoever calls has looked)
    with show_progress("checkpoints") as steps:
        found = verify_shared(location.address, location.catalogue, everybody=everybody, tick=steps.advance)
    answer = {"ok": found.is_sound, **asdict(found)}
    answer["faults"] = [f"user {uid}: {reason}" for uid, reason in found.faults.items()]
    note = (
        "All is well."
        if found.is_sound
        else "Repair: run `bandstand state rebuild`, while services run; events are right."
    )
    show_result("Verified", answer, as_json=as_json, notes=[note])
    if not found.is_sound:
        raise typer.Exit(EXIT_MISMATCH)


def iter_exported_states(location: StateLocation, tick: Tick) -> Iterator[str]:
    """Every user's state as a line of JSON, each as of the moment at which it is read."""
    from bandstand.store.postgres.taught_users import open_taught_users  # noqa: PLC0415 (the same)

    assert location.address is not None  # noqa: S101 (whoever calls has looked)
    # An import brings in nobody who was erased after this moment. Clocks differ by seconds, and erasures take some.
    taken = first_seq_at(time.time() - _ERASURE_S)
    with open_taught_users(location.address, location.catalogue) as users:
        hashes = users.list_schemas()
        for profile in users.iter_profiles(0, _LAST_KEY):
            if profile is not None:
                profile.seq = taken
                yield render_line(profile, hashes)
                tick()


def import_to_shared_state(
    location: StateLocation, sources: Iterable[ImportSource], *, skip_bad: bool, dry_run: bool, tick: Tick
) -> ImportResult:
    """Bring states into a shared ledger, user by user."""
    from bandstand.store.maintenance.shared_import import import_shared_states  # noqa: PLC0415 (the same)

    assert location.address is not None  # noqa: S101 (whoever calls has looked)
    if location.definition.scope == "loop":
        raise InvalidRequestError(
            "this loop has one model for everybody: PUT /personalizer/v1.0/model puts it back as a whole"
        )
    return import_shared_states(
        location.address, location.catalogue, sources, skip_bad=skip_bad, dry_run=dry_run, tick=tick
    )


def rebuild_shared_state(location: StateLocation, *, as_json: bool) -> None:
    """Make wrong checkpoints and totals again from the events."""
    from bandstand.store.maintenance.shared_verify import rebuild_shared  # noqa: PLC0415 (the same)

    assert location.address is not None  # noqa: S101 (whoever calls has looked)
    with show_progress("checkpoints") as steps:
        result = rebuild_shared(location.address, location.catalogue, steps.advance)
    notes = ["All services read their users anew."] if result.mended else []
    if result.left:
        notes.append("What is left counts also what was deleted since, and cannot be made again.")
    show_result("Rebuilt from the ledger", asdict(result), as_json=as_json, notes=notes)

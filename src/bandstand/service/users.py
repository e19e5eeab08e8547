"""Users: list them, reset one, erase one."""

from typing import Any

from bandstand.service.context import ServiceContext

UNREACHABLE = (
    "backups made before",
    "logs shipped elsewhere",
    "hourly totals, totals by prompt and by shadow, which name nobody",
)
UNREACHABLE_LOG = "the write-ahead log, until those who read the ledger now have finished"


async def list_users(deployment: ServiceContext, prefix: str, after: int, limit: int) -> dict[str, Any]:
    """A page of known user ids, in order of first sight."""
    page = await deployment.store.list_users(prefix, after, limit)
    return {"users": [{"user_id": user_id} for user_id in page.users], "next": page.next}


async def reset(deployment: ServiceContext, user_id: str, client: str) -> None:
    """Make every policy forget the user; decisions made before teach nothing any more. Idempotent."""
    await deployment.store.reset(user_id, client)
    deployment.population.apply_reset(user_id)


async def erase(deployment: ServiceContext, user_id: str, client: str) -> dict[str, Any]:
    """Delete everything held about the user; the receipt counts what went and names what this cannot reach."""
    erasure = await deployment.store.erase(user_id, client)
    priors = await deployment.population.apply_erasure(user_id)
    return {
        "ok": True,
        "erased": {
            "decisions": erasure.decisions,
            "rewards": erasure.rewards,
            "marks": erasure.marks,
            "documents": erasure.documents,
            "generations": erasure.generations,
            "revocations": erasure.revocations,
            "turns": erasure.turns,
            "verdicts": erasure.verdicts,
            "enrolments": erasure.enrolments,
            "shadows": erasure.shadows,
            "priors": priors,
        },
        "unreachable": [*UNREACHABLE, *([] if erasure.log_emptied else [UNREACHABLE_LOG])],
    }

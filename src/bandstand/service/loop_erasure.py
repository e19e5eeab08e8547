"""Erasure over all loops, one after the other.

It is noted first, so that one that a crash cut short is finished later.
"""

from dataclasses import replace

from bandstand.bandit.loop_definition import DEFAULT_LOOP
from bandstand.errors import StorageUnavailableError
from bandstand.service import users
from bandstand.service.loop_runtime import ManagedLoop
from bandstand.service.loops import Loops
from bandstand.service.users import UNREACHABLE_LOG, ErasureReceipt


async def erase_everywhere(loops: Loops, user_id: str, client: str) -> ErasureReceipt:
    """Delete everything held about a user in every loop; the receipt counts what went, in all and by loop.

    Each loop has a ledger of its own, and no commit covers two. So the default loop's ledger first notes, synced, that
    the user is being erased, and drops the note when all is done; the next process that opens it continues from there.

    Raises:
        OverloadedError, StorageFullError, StorageUnavailableError: it is not done, and continues at the next start, or
            when it is asked for again.
    """
    await loops.refresh()
    async with loops.get(DEFAULT_LOOP).gate.pass_through():
        return await _erase_everywhere(loops, user_id, client)


async def _erase_everywhere(loops: Loops, user_id: str, client: str) -> ErasureReceipt:
    default = loops.get(DEFAULT_LOOP).deployment
    if len(loops) == 1:
        return await users.erase(default, user_id, client)
    await default.store.note_erasure(user_id, client)
    receipts: dict[str, ErasureReceipt] = {}
    left: list[str] = []
    for loop in loops:
        receipt = await _erase_in(loop, loops, user_id, client)
        if receipt is None:
            left.append(f"the loop {loop.name}, which is not open; it goes from there once the service starts with it")
        else:
            receipts[loop.name] = receipt
    if not left and not await default.store.delete_erasure_note(user_id):
        left.append(UNREACHABLE_LOG)
    receipt = users.sum_receipts(receipts)
    return replace(receipt, unreachable=list(dict.fromkeys((*receipt.unreachable, *left))))


async def resume_erasures(loops: Loops) -> None:
    """Finish the erasures that a process which died had begun."""
    default = loops.get(DEFAULT_LOOP)
    async with default.gate.pass_through():
        for user_id, client in await default.deployment.store.list_erasure_notes():
            await erase_everywhere(loops, user_id, client)


async def _erase_in(loop: ManagedLoop, loops: Loops, user_id: str, client: str) -> ErasureReceipt | None:
    """The receipt of one loop; ``None`` if it is not open."""
    async with loop.gate.pass_through():
        if loop.runtime is None:
            is_gone = all(other is not loop for other in loops)
            return ErasureReceipt(erased={}, unreachable=()) if is_gone else None
        try:
            return await users.erase(loop.deployment, user_id, client)
        except StorageUnavailableError:
            await loops.refresh()
            if all(other is not loop for other in loops):
                return ErasureReceipt(erased={}, unreachable=())
            raise

"""Generations: what was written for a user, logged so that its rewards are credited to its prompt."""

from bandstand.store.embedded.state_directory import StateDirectory, noop
from bandstand.store.embedded.user_admin import EmbeddedUsers
from bandstand.store.records import Decision
from bandstand.store.sqlite.statements import Row
from bandstand.store.tables import generations
from bandstand.store.tables.generations import (
    INSERT_GENERATION,
    INSERT_PROMPT,
    LoggedGeneration,
    PromptTotals,
    TipOrigin,
)


class EmbeddedGenerations:
    """The generations of a state directory, as :class:`bandstand.store.protocol.GenerationLog` has them."""

    def __init__(self, directory: StateDirectory, users: EmbeddedUsers) -> None:
        self._directory = directory
        self._users = users

    async def log_generation(self, generation: LoggedGeneration) -> bool:
        """Log a generation, unless its user was erased after it began; returns whether it was logged."""
        directory = self._directory
        user = await directory.users.get_or_load(generation.user_id)
        if self._users.was_erased_since(generation.user_id, generation.seq):
            return False
        prompt = directory.prompts.get_row(generation.prompt)
        row = generations.build_generation_row(generation, directory.ensure_uid(user), prompt.id)
        rows: list[tuple[str, Row]] = [(INSERT_PROMPT, prompt), (INSERT_GENERATION, row)]

        def on_committed() -> None:
            user.has_tips = True

        await directory.submit(user, generation.seq, rows, on_committed, noop, durable=False)
        return True

    async def load_prompt_totals(self) -> list[PromptTotals]:
        """What each prompt earned, in order of first use."""
        return await self._directory.read(generations.load_prompt_totals)

    async def find_origin(self, decision: Decision) -> TipOrigin | None:
        """The generation that the decision's pick came from."""
        return await self._directory.read(generations.find_origin, decision.seq)

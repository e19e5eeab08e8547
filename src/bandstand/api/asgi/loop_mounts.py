"""Which loop a request is for: the one that its path names, or that its key is bound to."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bandstand.api.asgi.access import Access, Headers, get_required_role
from bandstand.api.asgi.front import LOOPS, FrontController
from bandstand.api.problems import ForbiddenError
from bandstand.bandit.loop_definition import DEFAULT_LOOP
from bandstand.errors import UnknownLoopError
from bandstand.service.loop_runtime import LoopRuntime, ManagedLoop
from bandstand.service.loops import Loops

_OF_LOOP = frozenset({"promote"})
"""What may follow a loop's name and is about the loop, not in it."""


class LoopMounts:
    """Finds the loop of a request, and lets the request in.

    Args:
        loops: which there are.
        access: says which loop a key is bound to, and whether the caller is known.
        get_front: the gate of a loop's own.
    """

    def __init__(self, loops: Loops, access: Access, get_front: Callable[[LoopRuntime], FrontController]) -> None:
        self._loops = loops
        self._default_gate = loops.get(DEFAULT_LOOP).gate
        self._access = access
        self._get_front = get_front

    def may_concern(self, path: str) -> bool:
        """Whether a request may be for another loop than the default one, or has to wait for that."""
        return path.startswith(LOOPS) or self._access.binds_keys or not self._default_gate.is_open

    @asynccontextmanager
    async def enter(
        self, path: str, headers: Headers, method: str, default: FrontController
    ) -> AsyncIterator[tuple[FrontController, str]]:
        """Give the gate of the loop that a request is for, and the path inside; wait while it is closed for a moment.

        Args:
            path: the raw path.
            headers: of the request.
            method: the same.
            default: the gate of the default loop.

        Raises:
            ForbiddenError: the key is bound to another loop.
            UnauthorizedError: a stranger asks for a loop that there is not.
            UnknownLoopError: there is no such loop.
            StorageUnavailableError: it is not open, or it cannot be found out whether there is one.
        """
        name, inner = self._resolve(path, headers)
        if name == DEFAULT_LOOP:
            while not self._default_gate.is_open:
                await self._default_gate.wait_open()
            yield default, inner  # whose own gate counts who is inside
            return
        if name not in {loop.name for loop in self._loops}:
            if default.foreign is not None and default.foreign.owns(inner):  # whose calls have roles of their own
                self._access.refuse_strangers(headers)
            else:
                self._access.authorize(headers, get_required_role(method, inner))
        loop = await self._wait_open(name)
        with loop.gate.enter():
            yield self._get_front(loop.require_runtime()), inner

    def _resolve(self, path: str, headers: Headers) -> tuple[str, str]:
        bound = self._access.find_bound_loop(headers)
        if not path.startswith(LOOPS):
            return bound or DEFAULT_LOOP, path
        name, slash, inside = path.removeprefix(LOOPS).partition("/")
        if bound is not None and name != bound:
            raise ForbiddenError("this key is bound to another loop")
        if not slash or inside in _OF_LOOP:  # about the loop
            return bound or DEFAULT_LOOP, path
        return name, f"/{inside}"

    async def _wait_open(self, name: str) -> ManagedLoop:
        loop = await self._loops.find(name)
        while not loop.gate.is_open:
            await loop.gate.wait_open()
            if self._loops.get(name) is not loop:
                raise UnknownLoopError("no loop of that name")
        return loop

"""The loops of a service: each step is logged before it is done, so that a process that dies at any of them goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import Context
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from bandstand.bandit.loop_definition import LearningMode, LoopDefinition
from bandstand.errors import (
    BandstandError,
    ConfigurationError,
    InvalidRequestError,
    LoopRefusedError,
    StorageUnavailableError,
    UnknownLoopError,
)
from bandstand.service.attention import load_items
from bandstand.service.context import ServiceContext
from bandstand.service.loop_erasure import erase_everywhere, resume_erasures
from bandstand.service.loop_runtime import LoopForm
from bandstand.service.loops import MAX_LOOPS, Loops
from bandstand.testing.memory_store import MemoryStore
from tests.store.given import CATALOGUE, NOON

MENU = LoopDefinition(name="menu")
DEFAULT = LoopDefinition(name="default")


class DiedError(Exception):
    """The process died."""


class Disk:
    """What outlives a process: the stores, by loop or by the places that they were given.

    Attributes:
        dies_at: the step at which the process dies.
        fault: of the definition that cannot be opened, by policy.
    """

    def __init__(self) -> None:
        self.stores: dict[str, MemoryStore] = {"default": MemoryStore(CATALOGUE, clock=lambda: NOON)}
        self.steps: list[str] = []
        self.dies_at: str | None = None
        self.fault: dict[str, Exception] = {}
        self.are_shared = False
        self.places = 0

    def take_step(self, step: str) -> None:
        if step == self.dies_at:
            raise DiedError(step)
        self.steps.append(step)

    # ── as LoopPlaces ─────────────────────────────────────────────────────────────────────────────────────────────

    async def claim(self, name: str) -> str | None:
        if self.are_shared:
            self.places += 1
            return f"{name}_{self.places}"
        if name in self.stores:
            raise LoopRefusedError("there is a state directory of that name")
        return None

    async def discard(self, name: str, place: str | None) -> None:
        self.take_step(f"discard {place or name}")
        self.stores.pop(place or name, None)

    async def sweep(self) -> None:
        """Nothing is ever half gone here."""


class Form(LoopForm):
    """Another definition of it."""

    def __init__(self, definition: LoopDefinition) -> None:
        self.definition = definition


class Runtime:
    """A loop over a memory store."""

    def __init__(self, disk: Disk, definition: LoopDefinition, place: str | None = None) -> None:
        self._disk = disk
        self._definition = definition
        self._place = place or definition.name
        store = disk.stores.get(self._place) or MemoryStore(CATALOGUE, clock=lambda: NOON)
        self.deployment = ServiceContext(CATALOGUE, store, definition=definition, clock=lambda: NOON)

    async def open(self) -> None:
        self._disk.take_step(f"open {self._place}")
        if (fault := self._disk.fault.get(self._definition.policy or "")) is not None:
            raise fault
        store = self.deployment.store
        assert isinstance(store, MemoryStore)
        self._disk.stores[self._place] = store
        await self.deployment.start()

    async def close(self) -> None:
        self._disk.take_step(f"close {self._place}")

    async def run_closed(self, work: Callable[[], None]) -> None:
        await self.close()
        try:
            work()
        finally:
            await self.open()

    def compose_form(self, definition: LoopDefinition) -> Form:
        return Form(definition)

    async def take_form(self, form: LoopForm) -> Form:
        assert isinstance(form, Form)
        former = Form(self._definition)
        await self.close()
        try:
            self._adopt(form.definition)
            await self.open()
        except BandstandError:
            self._adopt(former.definition)
            await self.open()
            raise
        return former

    def _adopt(self, definition: LoopDefinition) -> None:
        self._definition = definition
        store = self.deployment.store
        self.deployment = ServiceContext(
            CATALOGUE, store, definition=definition, active_policy=definition.policy or "linucb-v2", clock=lambda: NOON
        )


async def start(
    disk: Disk, configured: Mapping[str, LoopDefinition] | None = None, said: LoopDefinition = DEFAULT
) -> Loops:
    """A process over what is on the disk, with what the settings say of the default loop."""
    disk.dies_at = None
    disk.steps.clear()
    default = Runtime(disk, said)
    loops = Loops(default, partial(Runtime, disk), disk)
    await loops.open(configured or {})
    return loops


def names(loops: Loops) -> list[str]:
    return [loop.name for loop in loops]


async def test_a_loop_is_there_from_its_making_to_its_deletion_and_who_did_so_is_kept() -> None:
    disk = Disk()
    loops = await start(disk)
    await loops.put(MENU, "ops")
    with pytest.raises(LoopRefusedError, match="there is a loop of that name"):
        await loops.create(MENU, "ops")
    await loops.put(replace(MENU, mode="logging"), "lead")
    await loops.put(replace(MENU, mode="logging"), "lead")
    loops = await start(disk)
    assert names(loops) == ["default", "menu"]
    menu = loops.get("menu")
    assert (menu.definition.mode, menu.deployment.mode, menu.changed_by) == ("logging", "logging", "lead")
    await loops.delete("menu", "ops")
    with pytest.raises(UnknownLoopError):
        loops.get("menu")
    assert set(disk.stores) == {"default"}
    loops = await start(disk)
    assert names(loops) == ["default"]
    told = [(change.action, change.client, change.before and change.before["mode"]) for change in loops.changes]
    assert told == [("create", "ops", None), ("change", "lead", "online"), ("delete", "ops", "logging")]


@pytest.mark.parametrize("step", ["open menu", "discard menu", "close menu"])
async def test_a_process_that_dies_at_any_step_leaves_a_loop_that_is_there_or_one_that_is_not(step: str) -> None:
    disk = Disk()
    loops = await start(disk)
    disk.dies_at = step
    try:
        await loops.create(MENU, "ops")
        await loops.delete("menu", "ops")
    except DiedError:
        pass
    else:
        pytest.fail("it dies at a step that there is")
    logged = loops.changes[-1].action if loops.changes else None
    loops = await start(disk)
    if step == "open menu":
        assert logged == "create"
        assert names(loops) == ["default", "menu"], "its event says so, and the next start makes it"
        assert loops.get("menu").runtime is not None
    else:
        assert logged == "delete"
        assert names(loops) == ["default"]
        assert set(disk.stores) == {"default"}, "the next start finishes what was begun"


async def test_what_cannot_be_opened_is_as_before() -> None:
    disk = Disk()
    loops = await start(disk)
    disk.fault["linucb-v1"] = ConfigurationError("schema 'tips-5' has changed under the same name")
    with pytest.raises(LoopRefusedError, match="has changed"):
        await loops.create(replace(MENU, policy="linucb-v1"), "ops")
    assert names(loops) == ["default"]
    await loops.create(MENU, "ops")
    with pytest.raises(LoopRefusedError, match="has changed"):
        await loops.change(replace(MENU, policy="linucb-v1"), "ops")
    menu = loops.get("menu")
    assert menu.definition == MENU
    assert menu.runtime is not None
    assert menu.gate.is_open
    assert [each.action for each in (await start(disk)).changes] == ["create", "delete", "create"]


async def test_a_loop_that_cannot_be_opened_keeps_no_other_from_serving() -> None:
    disk = Disk()
    loops = await start(disk)
    for name, policy in (("menu", "linucb-v1"), ("shelf", "linucb-v2")):
        await loops.create(LoopDefinition(name=name, policy=policy), "ops")
    disk.fault["linucb-v1"] = StorageUnavailableError("the disk answers with errors")
    loops = await start(disk)
    assert loops.get("shelf").runtime is not None
    with pytest.raises(StorageUnavailableError, match="this loop is not open: the disk answers with errors"):
        loops.get("menu").require_runtime()
    default = loops.get("default").deployment
    (item,) = [item for item in await load_items(default) if item.code == "loop-closed"]
    assert item.message == "the loop menu takes no requests: the disk answers with errors"
    disk.fault.clear()
    await loops.change(LoopDefinition(name="menu", policy="linucb-v1"), "ops")
    assert loops.get("menu").runtime is not None
    assert not [item for item in await load_items(default) if item.code == "loop-closed"]


async def test_a_mode_changes_at_once_and_a_policy_by_opening_again_once_those_inside_are_gone() -> None:
    disk = Disk()
    loops = await start(disk)
    await loops.create(MENU, "ops")
    menu, steps = loops.get("menu"), len(disk.steps)
    before = menu.runtime
    await loops.set_mode("menu", "apprentice", "ops")
    assert (menu.runtime, menu.deployment.mode) == (before, "apprentice")
    assert disk.steps[steps:] == []
    with menu.gate.enter():
        change = loops.change(replace(MENU, policy="linucb-v1"), "ops")
        changing = asyncio.create_task(change, context=Context())  # somebody else's
        async with asyncio.timeout(60):
            while menu.gate.is_open:  # noqa: ASYNC110 (a gate has no event to await of its closing)
                await asyncio.sleep(0)
        assert menu.runtime is before, "somebody is inside"
    await changing
    assert disk.steps[steps:] == ["close menu", "open menu"]
    with menu.gate.enter():
        await loops.change(MENU, "ops")  # a request of the loop's own does not wait for itself
    assert menu.deployment.mode == "online"


async def test_the_file_is_applied_where_it_says_something_new_and_leaves_the_rest_alone() -> None:
    disk = Disk()
    configured = {"menu": replace(MENU, mode="apprentice"), "default": LoopDefinition(name="default", mode="logging")}
    loops = await start(disk, configured)
    assert loops.get("default").deployment.mode == "logging"
    await loops.set_mode("menu", "online", "ops")
    await loops.set_mode("default", "online", "ops")
    loops = await start(disk, configured)
    assert (loops.get("menu").definition.mode, loops.get("default").deployment.mode) == ("online", "online")
    loops = await start(disk, configured | {"menu": replace(MENU, mode="logging")})
    assert loops.get("menu").definition.mode == "logging"
    loops = await start(disk, {})
    assert names(loops) == ["default", "menu"], "no edit of a file deletes what was learned"
    assert [change.client for change in loops.changes] == ["settings", "settings", "ops", "ops", "settings"]


async def test_what_cannot_be_changed_is_refused_by_name() -> None:
    loops = await start(Disk())
    await loops.create(MENU, "ops")
    loops.get("default").deployment.pinned_by = "ACTIVE_POLICY"
    refused: list[tuple[Callable[[], Any], str]] = [
        (lambda: loops.change(replace(MENU, scope="loop"), "ops"), "scope: "),
        (lambda: loops.change(replace(DEFAULT, scope="loop"), "ops"), "scope: "),
        (lambda: loops.change(replace(DEFAULT, policy="linucb-v1"), "ops"), "policy: ACTIVE_POLICY says"),
    ]
    for change, told in refused:
        with pytest.raises(InvalidRequestError, match=told):
            await change()
    with pytest.raises(LoopRefusedError, match="default loop cannot be deleted"):
        await loops.delete("default", "ops")
    with pytest.raises(ConfigurationError, match=r"loops\.default\.policy: "):
        await start(Disk(), {"default": LoopDefinition(name="default", policy="linucb-v1")})


@pytest.mark.parametrize("name", ["default", "menu"])
async def test_changes_that_are_asked_for_inside_a_loop_do_not_wait_for_each_other_to_leave_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loops = await start(Disk())
    await loops.create(MENU, "ops")
    monkeypatch.setattr("bandstand.service.loop_gate.DRAIN_SECONDS", 3600.0)
    gate = loops.get(name).gate

    async def change(policy: str) -> None:
        with gate.enter():  # as a request of the loop's own
            await loops.change(replace(loops.get(name).definition, policy=policy), "ops")

    async with asyncio.timeout(60):
        await asyncio.gather(*(change(policy) for policy in ("linucb-v1", "egreedy-v1", "thompson-v1")))
    assert [each.after and each.after["policy"] for each in loops.changes[-3:]] == [
        *("linucb-v1", "egreedy-v1", "thompson-v1")
    ]
    async with gate.close():
        pass  # nobody is counted who has left


async def test_the_default_loop_takes_another_form_and_what_was_changed_stands_whatever_settings_say() -> None:
    disk = Disk()
    loops = await start(disk)
    default = loops.get("default")
    runtime = default.runtime
    disk.steps.clear()
    with default.gate.enter():  # a request of its own asks, and does not wait for itself
        await loops.change(replace(DEFAULT, policy="egreedy-v1"), "ops")
    assert (disk.steps, default.runtime) == (["close default", "open default"], runtime)
    assert default.deployment.active_policy == "egreedy-v1"
    await loops.set_mode("default", "logging", "lead")
    assert [(each.client, tuple(each.own or ())) for each in loops.changes] == [
        ("ops", ("policy",)),
        ("lead", ("mode", "policy")),
    ]
    loops = await start(disk, said=replace(DEFAULT, shadow=("linucb-v1",)))
    default = loops.get("default")
    assert default.definition == replace(DEFAULT, policy="egreedy-v1", mode="logging", shadow=("linucb-v1",))
    assert (default.deployment.active_policy, default.deployment.mode) == ("egreedy-v1", "logging")
    assert default.said is not None
    await loops.change(default.said, "ops")
    assert (await start(disk)).get("default").definition == DEFAULT, "which is the way back to the settings"


async def test_a_table_of_the_default_loop_is_applied_where_it_says_something_new_and_keeps_what_else_was_changed() -> (
    None
):
    disk = Disk()
    configured = {"default": replace(DEFAULT, mode="logging")}
    loops = await start(disk, configured)
    await loops.change(replace(DEFAULT, mode="online", policy="egreedy-v1"), "ops")
    loops = await start(disk, configured)
    assert loops.get("default").definition == replace(DEFAULT, policy="egreedy-v1")
    loops = await start(disk, {"default": replace(DEFAULT, mode="apprentice")})
    assert loops.get("default").definition == replace(DEFAULT, mode="apprentice", policy="egreedy-v1")
    assert loops.get("default").said == replace(DEFAULT, mode="apprentice")


@pytest.mark.parametrize("fails_at", ["opening", "logging"])
async def test_a_default_loop_that_cannot_be_changed_is_as_before(fails_at: str) -> None:
    disk = Disk()
    loops = await start(disk)
    default = loops.get("default")
    if fails_at == "opening":
        disk.fault["linucb-v1"] = ConfigurationError("schema 'tips-5' has changed under the same name")
    else:

        async def refuse(*_: Any, **__: Any) -> None:
            raise StorageUnavailableError("the disk answers with errors")

        setattr(default.deployment.store, "log_loop_change", refuse)  # noqa: B010 (a protocol's method cannot be assigned)
    with pytest.raises((LoopRefusedError, StorageUnavailableError), match=r"has changed|answers with errors"):
        await loops.change(replace(DEFAULT, policy="linucb-v1"), "ops")
    assert default.definition == default.deployment.definition == DEFAULT
    assert (default.deployment.active_policy, default.gate.is_open, list(loops.changes)) == ("linucb-v2", True, [])


async def test_loops_are_bounded_and_a_directory_that_nobody_knows_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Disk()
    loops = await start(disk)
    disk.stores["menu"] = MemoryStore(CATALOGUE)
    with pytest.raises(LoopRefusedError, match="a state directory of that name"):
        await loops.create(MENU, "ops")
    assert MAX_LOOPS >= 10
    monkeypatch.setattr("bandstand.service.loops.MAX_LOOPS", 1)
    await loops.create(LoopDefinition(name="one"), "ops")
    with pytest.raises(LoopRefusedError, match="there are 1 loops"):
        await loops.create(LoopDefinition(name="two"), "ops")


async def test_an_erasure_that_a_crash_cut_short_is_finished_in_every_loop() -> None:
    disk = Disk()
    loops = await start(disk)
    for name in ("menu", "shelf"):
        await loops.create(LoopDefinition(name=name), "ops")
    erased: list[str] = []

    def fail_in(broken: str) -> None:
        for loop in loops:

            async def erase(user_id: str, client: str, name: str = loop.name) -> Any:
                if name == broken:
                    raise DiedError
                erased.append(name)
                return await MemoryStore.erase(disk.stores[name], user_id, client)

            setattr(loop.deployment.store, "erase", erase)  # noqa: B010 (a protocol's method cannot be assigned)

    fail_in("shelf")
    with pytest.raises(DiedError):
        await erase_everywhere(loops, "anna", "ops")
    assert erased == ["default", "menu"]
    store = disk.stores["default"]
    assert await store.list_erasure_notes() == [("anna", "ops")]
    erased.clear()
    fail_in("nothing")
    await resume_erasures(loops)
    assert erased == ["default", "menu", "shelf"]
    assert await store.list_erasure_notes() == []


async def test_an_erasure_names_the_loop_that_it_cannot_reach_and_is_finished_once_that_opens() -> None:
    disk = Disk()
    loops = await start(disk)
    await loops.create(replace(MENU, policy="linucb-v1"), "ops")
    disk.fault["linucb-v1"] = StorageUnavailableError("the disk answers with errors")
    loops = await start(disk)
    receipt = await erase_everywhere(loops, "anna", "ops")
    assert any("the loop menu" in each for each in receipt.unreachable)
    assert list(receipt.loops or ()) == ["default"]
    disk.fault.clear()
    loops = await start(disk)
    await resume_erasures(loops)
    assert await disk.stores["default"].list_erasure_notes() == []


@pytest.mark.parametrize("name", ["default", "menu"])
@pytest.mark.parametrize("fails", [False, True])
async def test_work_that_needs_a_state_for_itself_is_done_while_nobody_is_inside_and_the_loop_goes_on(
    name: str, *, fails: bool
) -> None:
    disk = Disk()
    loops = await start(disk)
    await loops.create(MENU, "ops")
    disk.steps.clear()
    loop = loops.get(name)

    def work() -> None:
        disk.take_step("work")
        if fails:
            raise InvalidRequestError("it is no such file")

    with loop.gate.enter():
        working = asyncio.create_task(loops.run_closed(name, work), context=Context())
        await asyncio.sleep(0)
        erasing = asyncio.create_task(erase_everywhere(loops, "anna", "ops"), context=Context())
        for _ in range(20):
            await asyncio.sleep(0)
        assert (disk.steps, loop.gate.is_open) == ([], False), "it waits for who is inside, and others for it"
    (failure,) = await asyncio.gather(working, return_exceptions=True)
    assert isinstance(failure, InvalidRequestError) is fails
    assert disk.steps == [f"close {name}", "work", f"open {name}"]
    assert loop.gate.is_open
    assert (await erasing).unreachable == (await erase_everywhere(loops, "bert", "ops")).unreachable


# ── two processes that share the ledger ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Disk, Loops, Loops]]:
    """Two processes over one disk, each of which follows the other."""
    disk = Disk()
    disk.are_shared = True
    one, other = await start(disk), await start(disk)
    yield disk, one, other
    for loops in (one, other):
        await loops.close()


async def test_what_one_process_makes_changes_and_deletes_the_other_serves_as_it_is(
    pair: tuple[Disk, Loops, Loops],
) -> None:
    disk, one, other = pair
    await one.put(MENU, "ops")
    menu = await other.find("menu")
    assert menu.deployment.store is one.get("menu").deployment.store
    runtime = menu.runtime
    await other.set_mode("menu", "logging", "ops")
    await one.refresh()
    assert one.get("menu").deployment.mode == "logging"
    await one.change(replace(MENU, policy="linucb-v1"), "ops")
    await other.refresh()
    assert menu.runtime is not runtime, "another policy takes a new start"
    assert (menu.deployment.definition.policy, menu.deployment.mode) == ("linucb-v1", "online")
    await one.set_mode("default", "logging", "ops")
    await other.refresh()
    assert other.get("default").deployment.mode == "logging"
    await one.change(replace(DEFAULT, policy="egreedy-v1"), "ops")
    await other.refresh()
    assert other.get("default").deployment.active_policy == "egreedy-v1"
    assert other.get("default").deployment.mode == "online"
    with pytest.raises(LoopRefusedError, match="there is a loop of that name"):
        await other.create(MENU, "ops")
    before = menu.deployment.store
    await other.delete("menu", "ops")
    await one.put(MENU, "ops")
    assert one.get("menu").deployment.store is not before, "a new loop learns anew"
    await other.refresh()
    assert other.get("menu").deployment.store is one.get("menu").deployment.store
    assert [(each.action, each.place) for each in one.changes] == [(each.action, each.place) for each in other.changes]
    assert set(disk.stores) == {"default", "menu_2"}


async def test_what_two_processes_change_at_once_is_changed_one_after_the_other(
    pair: tuple[Disk, Loops, Loops],
) -> None:
    disk, one, other = pair
    await asyncio.gather(*(loops.put(MENU, "ops") for loops in pair[1:]))
    modes: tuple[LearningMode, ...] = ("logging", "apprentice")
    await asyncio.gather(*(loops.set_mode("menu", mode, "ops") for loops, mode in zip(pair[1:], modes, strict=True)))
    for loops in (one, other):
        await loops.refresh()
    assert [each.action for each in one.changes] == ["create", "change", "change"]
    assert one.get("menu").deployment.mode == other.get("menu").deployment.mode == one.changes[-1].after["mode"]  # type: ignore[index]  # it has one
    assert [name for name in disk.stores if name != "default"] == [one.get("menu").place]


async def test_an_erasure_reaches_a_loop_that_another_process_has_made_this_moment(
    pair: tuple[Disk, Loops, Loops],
) -> None:
    _, one, other = pair
    await one.put(MENU, "ops")
    receipt = await erase_everywhere(other, "anna", "ops")
    assert list(receipt.loops or ()) == ["default", "menu"]


async def test_a_loop_asks_what_it_is_when_its_own_ledger_says_that_something_has_changed(
    pair: tuple[Disk, Loops, Loops],
) -> None:
    _, one, other = pair
    await one.put(MENU, "ops")
    menu = (await other.find("menu")).deployment
    await one.set_mode("menu", "apprentice", "ops")
    await menu.refresh()  # as its store does
    assert (menu.mode, menu.serves_baseline) == ("apprentice", True)
    assert menu.shadows is not None

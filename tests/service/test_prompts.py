"""The prompts in service: who gets which, what a reload may do, what `auto` learns."""

import asyncio
import shutil
from collections import Counter
from pathlib import Path

import pytest

from bandstand.bandit.arms import RewardSums, compute_thompson_probabilities
from bandstand.errors import ConfigurationError, InvalidRequestError, StorageUnavailableError
from bandstand.generate.errors import PromptsKeptError, UnknownPromptError
from bandstand.prompts.library import prompts_directory
from bandstand.service.prompts import EXPLORATION_FLOOR, PromptService, get_detail, list_prompts, to_prompt_ref
from bandstand.store.tables.generations import PromptTotals
from bandstand.testing.memory_store import MemoryStore
from tests.store.given import CATALOGUE

VERSIONS = ("v1", "v2-mentor", "v3-few-shot")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(prompts_directory() / "generate", tmp_path / "prompts" / "generate")
    return tmp_path / "prompts"


def build_earned(prompts: PromptService, version: str, count: int, total: float) -> PromptTotals:
    return PromptTotals(
        to_prompt_ref(prompts.get("generate", version)), reward_sums=RewardSums(count, total, float(count))
    )


@pytest.mark.parametrize(
    ("setting", "default", "shares"),
    [
        ("", "v1", {"v1": 1.0}),
        ("v2-mentor", "v2-mentor", {"v2-mentor": 1.0}),
        ("v3-few-shot, v1", "v3-few-shot,v1", {"v3-few-shot": 0.5, "v1": 0.5}),
        (" auto ", "auto", dict.fromkeys(VERSIONS, 1 / 3)),
    ],
)
def test_the_setting_says_who_gets_what(folder: Path, setting: str, default: str, shares: dict[str, float]) -> None:
    prompts = PromptService(folder, setting)
    assert prompts.default == default
    assert dict(prompts.version_shares) == pytest.approx(shares)
    draws = Counter(prompts.select(None, i / 300).prompt.version for i in range(300))
    assert {version: count / 300 for version, count in draws.items()} == pytest.approx(shares, abs=0.01)
    named, propensity = prompts.select("v2-mentor", 0.5)
    assert (named.version, propensity) == ("v2-mentor", None)
    with pytest.raises(InvalidRequestError):
        prompts.select("auto", 0.5)


@pytest.mark.parametrize("setting", ["v9", "v1,auto", "auto,v1"])
def test_a_default_that_is_not_there_ends_start_up(folder: Path, setting: str) -> None:
    with pytest.raises(ConfigurationError, match="DEFAULT_PROMPT_VERSION names"):
        PromptService(folder, setting)


def test_a_broken_file_is_named_with_its_line_and_the_others_load(folder: Path) -> None:
    (folder / "generate" / "v2-mentor.md").write_text("+++\nversion = 'v2-mentor'\n+++\n{% block user %}")
    prompts = PromptService(folder)
    assert prompts.library.list_versions("generate") == ("v1", "v3-few-shot")
    (broken,) = list_prompts(prompts).broken
    assert broken.file == "generate/v2-mentor.md"
    assert broken.line >= 1
    assert broken.reason


def test_a_broken_default_ends_start_up_and_says_what_broke_it(folder: Path) -> None:
    (folder / "generate" / "v1.md").write_text("no front matter")
    with pytest.raises(ConfigurationError, match=r"names 'v1'.*Left out: generate/v1\.md, line 1: must begin with"):
        PromptService(folder)


@pytest.mark.parametrize("setting", ["", "auto"])
def test_a_folder_without_a_version_ends_start_up(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ConfigurationError, match="DEFAULT_PROMPT_VERSION"):
        PromptService(tmp_path, setting)


class TestReload:
    async def test_takes_new_versions_and_new_wordings(self, folder: Path) -> None:
        prompts = PromptService(folder)
        before = prompts.select("v1", 0).prompt
        text = (folder / "generate" / "v1.md").read_text("utf-8")
        (folder / "generate" / "v1.md").write_text(text.replace("short tips", "brief tips"), "utf-8")
        (folder / "generate" / "v4.md").write_text(text.replace('version = "v1"', 'version = "v4"'), "utf-8")
        await prompts.reload()
        assert prompts.select("v4", 0).prompt.version == "v4"
        after = prompts.select("v1", 0).prompt
        assert after.digest != before.digest
        assert "short tips" in before.text

    async def test_keeps_the_old_where_the_new_cannot_take_over(self, folder: Path) -> None:
        prompts = PromptService(folder, "v2-mentor")
        (folder / "generate" / "v2-mentor.md").unlink()
        with pytest.raises(PromptsKeptError, match="v2-mentor"):
            await prompts.reload()
        assert prompts.select(None, 0).prompt.version == "v2-mentor"
        shutil.rmtree(folder)
        with pytest.raises(PromptsKeptError, match="cannot be read"):
            await prompts.reload()
        assert len(prompts.library) == 3


class TestAuto:
    def test_shares_are_the_bandits(self, folder: Path) -> None:
        prompts = PromptService(folder, "auto")
        prompts.update_shares([build_earned(prompts, "v2-mentor", 30, 21.0), build_earned(prompts, "v1", 30, -3.0)])
        expected = compute_thompson_probabilities(
            [RewardSums(30, -3.0), RewardSums(30, 21.0), RewardSums()], EXPLORATION_FLOOR
        )
        assert dict(prompts.version_shares) == dict(zip(VERSIONS, expected.tolist(), strict=True))
        selected = prompts.select(None, 0.5)
        assert selected == (prompts.get("generate", "v2-mentor"), prompts.version_shares["v2-mentor"])

    async def test_another_wording_begins_anew_and_the_old_one_is_remembered(self, folder: Path) -> None:
        prompts = PromptService(folder, "auto")
        totals = [build_earned(prompts, "v1", 50, 40.0)]
        prompts.update_shares(totals)
        learned = prompts.version_shares["v1"]
        path = folder / "generate" / "v1.md"
        text = path.read_text("utf-8")
        path.write_text(text.replace("short tips", "brief tips"), "utf-8")
        await prompts.reload()
        assert learned > 0.5
        assert prompts.version_shares["v1"] == pytest.approx(1 / 3)
        path.write_text(text, "utf-8")
        await prompts.reload()
        assert prompts.version_shares["v1"] == learned

    async def test_it_goes_on_learning_from_the_ledger(self, folder: Path) -> None:
        prompts = PromptService(folder, "auto")
        await _until_learned(prompts, _Totals([build_earned(prompts, "v3-few-shot", 60, 50.0)]))
        assert prompts.version_shares["v3-few-shot"] > 0.6

    async def test_it_outlives_a_ledger_that_cannot_be_read(self, folder: Path) -> None:
        prompts = PromptService(folder, "auto")
        await _until_learned(prompts, _Totals([build_earned(prompts, "v3-few-shot", 60, 50.0)], failures=3))
        assert prompts.version_shares["v3-few-shot"] > 0.6

    async def test_nothing_is_asked_of_the_ledger_where_nothing_is_learned(self, folder: Path) -> None:
        store = _Totals([])
        await PromptService(folder, "v1").run_updates(store, seconds=0)
        assert not store.asked.is_set()


class _Totals(MemoryStore):
    """A store that knows these totals, once it can be read."""

    def __init__(self, totals: list[PromptTotals], failures: int = 0) -> None:
        super().__init__(CATALOGUE)
        self._told = totals
        self._failures = failures
        self.asked = asyncio.Event()

    async def load_prompt_totals(self) -> list[PromptTotals]:
        if self._failures:
            self._failures -= 1
            raise StorageUnavailableError("not now")
        self.asked.set()
        return self._told


async def _until_learned(prompts: PromptService, store: _Totals) -> None:
    learning = asyncio.create_task(prompts.run_updates(store, seconds=0))
    async with asyncio.timeout(60):
        await store.asked.wait()
        await asyncio.sleep(0)
    learning.cancel()


def test_a_prompt_is_shown_with_its_text_and_an_unknown_one_is_not(folder: Path) -> None:
    prompts = PromptService(folder)
    text = (folder / "generate" / "v1.md").read_text("utf-8")
    assert get_detail(prompts, "generate", "v1").text == text
    for name, version in (("generate", "v9"), ("judge", "v1"), ("..", "v1")):
        with pytest.raises(UnknownPromptError):
            get_detail(prompts, name, version)

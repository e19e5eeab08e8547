"""``bandstand state`` as an operator uses it: over real directories, and beside a real service."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
import structlog
from typer.testing import CliRunner

from bandstand.cli import command, main
from bandstand.cli.state.access import run_on_directory
from bandstand.cli.state.commands import state as state_commands
from bandstand.cli.state.directory import resolve_location
from bandstand.service.context import ServiceContext
from bandstand.service.reward import reward
from bandstand.store.learners.documents import Documents
from tests.contract.server import start_server
from tests.store.given import DAY, NOON, documents_in, ledger_of
from tests.store.populated import (
    Served,
    build_shop,
    catalogue_of,
    extract_learned,
    load_documents,
    load_states,
    serve_users,
    trim_directory,
)

SECRET = "an-admin-s-secret"
COMMANDS = [
    "rebuild",
    "verify",
    "export",
    "import",
    "migrate",
    "backup",
    "reset",
    "erase",
    "revoke",
    "reapply-reactions",
    "move",
]
OWNING = [
    "rebuild",
    "import FILE",
    "migrate --schema tips-v2",
    "reset anna",
    "erase anna --yes",
    "revoke --client anonymous",
    "reapply-reactions",
]


class Said(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Bandstand:
    """Runs ``bandstand state`` on one state directory, in this process."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._patch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: str | Path) -> Said:
        argv = ["bandstand", "state", *map(str, words), "--state-dir", str(self.directory)]
        self._patch.setattr(sys, "argv", argv)
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code, *self._capsys.readouterr())

    def at(self, directory: Path) -> "Bandstand":
        """The same on another directory."""
        return Bandstand(directory, self._patch, self._capsys)

    def serve_users(self, *user_ids: str) -> None:
        asyncio.run(serve_users(self.directory, *user_ids))


@pytest.fixture
def bandstand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bandstand:
    monkeypatch.setenv("COLUMNS", "200")
    return Bandstand(tmp_path / "state", monkeypatch, capsys)


def play_product(url: str, *user_ids: str, rounds: int = 5) -> None:
    """Be a product: score and reward over HTTP."""
    with httpx.Client(base_url=url, trust_env=False, headers={"X-API-Key": SECRET}) as client:
        for turn in range(rounds):
            for user_id in user_ids:
                candidates = [
                    {"id": str(number), "content": "", "source": "", "features": {"priority": number}}
                    for number in (1, 4)
                ]
                scored = client.post("/score", json={"user_id": user_id, "candidates": candidates})
                reward = {"decision_id": scored.json()["decision_id"], "reward": (-1) ** turn / 2}
                assert client.post("/reward", json=reward).json()["ok"] is True


# ── beside a running service ──────────────────────────────────────────────────────────────────────────────────────────


def test_beside_a_service_readers_read_owners_refuse_and_operators_ask(bandstand: Bandstand, tmp_path: Path) -> None:
    with start_server(bandstand.directory, API_KEYS=f"ops:admin:{SECRET}", CHECKPOINT_SECONDS="0.05") as server:
        url = server.url
        play_product(url, "anna", "bob", "carol")

        assert bandstand("verify").code == 0
        assert bandstand("backup", tmp_path / "copy", "--json").json["users"] == 3
        exported = bandstand("export")
        assert exported.code == 0
        assert [json.loads(line)["user_id"] for line in exported.out.splitlines()] == ["anna", "bob", "carol"]

        (tmp_path / "FILE").write_text(exported.out, encoding="utf-8")
        for words in OWNING:
            refused = bandstand(*(str(tmp_path / word) if word == "FILE" else word for word in words.split()))
            assert (refused.code, refused.out) == (2, "")
            assert refused.err.count("\n") == 1
            assert "in use by another process; stop it" in refused.err
            assert "--url" in refused.err

        key = ("--url", url, "--api-key", SECRET)
        assert bandstand("reset", "anna", *key, "--json").json == {"ok": True}
        receipt = bandstand("erase", "bob", "--yes", *key, "--json").json
        assert receipt["erased"]["decisions"] == receipt["erased"]["rewards"] == 5
        assert "backups made before" in receipt["unreachable"]
        found = load_states(bandstand.directory)
        assert found.keys() == {"anna", "carol"}
        assert found["anna"].policies == {}

        refused = bandstand("reset", "anna", "--url", url)
        assert refused.code == 2
        assert refused.err.startswith(f"bandstand: --url {url} answered 401: ")
        assert refused.err.count("\n") == 1

        revoked = bandstand("revoke", "--client", "ops", *key, "--json").json
        assert (revoked["rewards"], revoked["passed_over"]["forgotten"]) == (5, 5)
        assert load_states(bandstand.directory)["carol"].policies["linucb-v2", "tips-v2"].reward_count == 0

        play_product(url, "anna", "carol", rounds=20)
        server.kill()
    assert bandstand("verify").code == 0
    live = load_states(bandstand.directory)
    assert bandstand("rebuild").code == 0
    assert {user_id: document["policies"] for user_id, document in load_documents(bandstand.directory).items()} == {
        user_id: extract_learned(profile) for user_id, profile in live.items()
    }
    assert live["anna"].policies["linucb-v2", "tips-v2"].reward_count == 20
    assert live["carol"].policies["linucb-v2", "tips-v2"].reward_count == 20


def test_a_service_starts_on_a_restored_backup_and_knows_what_it_knew(bandstand: Bandstand, tmp_path: Path) -> None:
    bandstand.serve_users("anna", "bob")
    before = load_states(bandstand.directory)
    assert bandstand("backup", tmp_path / "copy").code == 0
    with start_server(tmp_path / "copy") as server:
        stats = httpx.get(f"{server.url}/stats/linucb/anna", trust_env=False).json()
        assert server.terminate() == 0
    known = before["anna"].policies["linucb-v1", "tips-5"]
    assert (stats["pulls"], stats["reward_count"]) == (known.pulls, known.reward_count)
    assert {user: extract_learned(profile) for user, profile in load_states(tmp_path / "copy").items()} == {
        user: extract_learned(profile) for user, profile in before.items()
    }


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://[", "ftp://127.0.0.1:1"])
def test_an_address_where_no_service_is_is_refused_in_one_line(bandstand: Bandstand, url: str) -> None:
    for words in ("reset anna", "erase anna --yes", "revoke --client shop", "reapply-reactions"):
        refused = bandstand(*words.split(), "--url", url)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith(f"bandstand: --url {url}: ")
        assert refused.err.count("\n") == 1


def test_a_proxy_of_the_environment_is_not_asked_about_this_machine(
    bandstand: Bandstand, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_server(bandstand.directory) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert bandstand("reset", "anna", "--url", server.url).code == 0


# ── on a directory that nobody uses ───────────────────────────────────────────────────────────────────────────────────


def test_rebuild_makes_the_documents_again(bandstand: Bandstand) -> None:
    bandstand.serve_users("anna", "bob")
    before = load_documents(bandstand.directory)
    for path in documents_in(bandstand.directory):
        path.unlink()
    assert bandstand("rebuild", "--json").json == {
        "users": 2,
        "documents": 2,
        "set_aside": 0,
        "discarded": 0,
        "baselines": 0,
        "reaches_back": None,
    }
    assert load_documents(bandstand.directory) == before
    said = bandstand("rebuild")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("Rebuilt from the ledger\n")
    assert "reach" not in said.out.replace("reaches back  none", "")


def test_rebuild_says_how_far_back_it_reaches(bandstand: Bandstand) -> None:
    bandstand.serve_users("anna")
    trim_directory(bandstand.directory, NOON + 5 * DAY)
    said = bandstand("rebuild")
    assert (
        "1 users start from the state that retention kept: their events up to 2025-06-20T15:06:40+00:00 are gone"
        in said.out
    )
    assert bandstand("verify").code == 0


def test_verify_ends_with_1_and_names_the_document_that_is_wrong(bandstand: Bandstand) -> None:
    bandstand.serve_users("anna", "bob")
    assert "All is well." in bandstand("verify").out
    path = Documents(bandstand.directory).path("anna")
    path.write_bytes(path.read_bytes()[:-9])
    said = bandstand("verify", "--json")
    assert said.code == 1
    assert said.json["ok"] is False
    assert said.json["faults"] == [
        {"path": str(path.relative_to(bandstand.directory)), "reason": "not a state document: JSONDecodeError"}
    ]
    said = bandstand("verify")
    assert said.code == 1
    assert f"{path.relative_to(bandstand.directory)}: not a state document" in said.out
    assert "bandstand state rebuild" in said.out
    assert bandstand("rebuild").code == 0
    assert bandstand("verify").code == 0


def test_verify_ends_with_1_where_the_ledger_is_damaged(bandstand: Bandstand) -> None:
    bandstand.directory.mkdir()
    (bandstand.directory / "ledger.db").write_bytes(b"no database" * 999)
    said = bandstand("verify")
    assert said.code == 1
    assert "restore a backup" in said.out


def test_export_and_import_move_every_user(bandstand: Bandstand, tmp_path: Path) -> None:
    bandstand.serve_users("a.b", "a_b", "../../etc/passwd", "🦊")
    file = tmp_path / "users.jsonl"
    assert bandstand("export", file) == Said(0, "", "")
    assert file.read_text(encoding="ascii") == bandstand("export").out
    assert file.stat().st_mode & 0o077 == 0
    assert list(tmp_path.glob("*.partial")) == []
    target = bandstand.at(tmp_path / "other")
    assert target("import", file, "--json").json == {"users": 4, "skipped": [], "erased": 0, "unknown": {}}
    assert {user: extract_learned(profile) for user, profile in load_states(target.directory).items()} == {
        user: extract_learned(profile) for user, profile in load_states(bandstand.directory).items()
    }
    assert target("verify").code == 0


def test_an_import_reads_stdin_and_names_a_bad_line(bandstand: Bandstand, tmp_path: Path) -> None:
    bandstand.serve_users("anna", "bob")
    anna, bob = bandstand("export").out.splitlines()
    words = [sys.executable, "-m", "bandstand", "state", "import", "-", "--state-dir", str(tmp_path / "other")]

    def run_piped(*flags: str) -> subprocess.CompletedProcess[str]:
        text = f"{anna}\n{bob[:50]}\n"
        return subprocess.run([*words, *flags], input=text, capture_output=True, text=True, check=False)

    refused = run_piped()
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("bandstand: nothing was imported: line 2: Invalid JSON")
    assert refused.stderr.count("\n") == 1
    taken = run_piped("--skip-bad", "--json")
    assert taken.returncode == 0
    assert json.loads(taken.stdout)["users"] == 1
    assert json.loads(taken.stdout)["skipped"][0].startswith("line 2: Invalid JSON")
    assert load_states(tmp_path / "other").keys() == {"anna"}


def test_an_export_cut_off_by_its_reader_ends_quietly(bandstand: Bandstand) -> None:
    bandstand.serve_users(*(f"user-{number}" for number in range(200)))
    words = [sys.executable, "-m", "bandstand", "state", "export", "--state-dir", str(bandstand.directory)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.stderr.read() == ""


def test_import_takes_the_first_implementation_s_files(bandstand: Bandstand, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for d in (5, 7):
        gram = np.outer(np.arange(1.0, d + 1), np.arange(1.0, d + 1))
        file = {"A": (np.eye(d) + gram).tolist(), "b": [0.5] * d, "meta": {"pulls": d}}
        (old / f"a_b_{d}.json").write_text(json.dumps(file), encoding="utf-8")
    ids = tmp_path / "ids.csv"
    ids.write_text("a_b_5,a.b\na_b_7,a.b\n", encoding="utf-8")
    assert bandstand("import", old, "--format", "v1", "--ids", ids, "--json").json["users"] == 1
    found = load_states(bandstand.directory)["a.b"].policies
    assert {key: state.pulls for key, state in found.items()} == {
        ("linucb-v1", "tips-5"): 5,
        ("egreedy-v1", "tips-7"): 7,
    }
    (old / "bad.json").write_text('{"A": [[1]], "b": [1]}', encoding="utf-8")
    refused = bandstand("import", old, "--format", "v1")
    assert refused.code == 2
    assert refused.err.startswith(f"bandstand: nothing was imported: {old / 'bad.json'}: b has 1 numbers")
    users = tmp_path / "users.txt"
    users.write_text("a.b\n", encoding="utf-8")
    (old / "a_b_5.json").rename(old / "a_b.json")
    would = bandstand("import", old / "a_b.json", "--format", "v1", "--users", users, "--dry-run")
    assert "a.b" in would.out
    assert "Would import (nothing was changed)" in would.out
    assert bandstand("import", old / "a_b.json", "--format", "v1", "--users", users, "--dry-run", "--json").json[
        "found"
    ]
    (old / "a_b.json").rename(old / "a_b_5.json")
    said = bandstand("import", old / "a_b_5.json", "--format", "v1")
    assert said.code == 0
    assert load_states(bandstand.directory).keys() == {"a.b", "a_b_5"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("import", "nowhere.jsonl"), "'nowhere.jsonl': No such file"),
        (("import", "a", "b"), "give one FILE"),
        (("import", "a", "--ids", "b"), "--ids goes with --format v1 only"),
        (("import", "a", "--users", "b"), "--users goes with --format v1 only"),
        (("import", "a", "--format", "v1", "--users", "b", "--ids", "c"), "give --ids or --users, not both"),
        (("import", "nowhere.json", "--format", "v1"), "nowhere.json: no such file"),
        (("rebuild",), "holds no ledger.db"),
        (("verify",), "holds no ledger.db"),
        (("export",), "holds no ledger.db"),
        (("backup", "copy"), "holds no ledger.db"),
        (("migrate", "--schema", "tips-v2"), "holds no ledger.db"),
        (("reset", "anna"), "holds no ledger.db"),
        (("erase", "anna", "--yes"), "holds no ledger.db"),
        (("revoke", "--client", "shop"), "holds no ledger.db"),
        (("reapply-reactions",), "holds no ledger.db"),
        (("revoke", "--since", "yesterday"), "--since: 'yesterday' is no time"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    bandstand: Bandstand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = bandstand(*words)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("bandstand: ")
    assert said in refused.err
    assert refused.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_migrate_lets_the_service_start_again(
    bandstand: Bandstand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve() -> None:
        async with Served(bandstand.directory, catalogue_of(build_shop())) as served:
            await served.live_history("anna", policies=("shop", "linucb-v2"))

    asyncio.run(serve())
    config = tmp_path / "shop.toml"
    config.write_text(
        """
        [policies.shop]
        kind = "linucb"
        schema = "shop"
        [schemas.shop]
        version = 2
        intercept = true
        [[schemas.shop.features]]
        name = "overdue"
        source = "candidate.is_overdue"
        encoding = "flag"
        """,
        encoding="utf-8",
    )
    monkeypatch.setenv("BANDSTAND_CONFIG", str(config))
    refused = bandstand("rebuild")
    assert refused.code == 2
    assert "run `bandstand state migrate --schema shop`" in refused.err
    dry = bandstand("migrate", "--schema", "shop", "--dry-run")
    assert dry.out.startswith("Would migrate (nothing was changed)\n")
    result = bandstand("migrate", "--schema", "shop", "--json").json
    assert result == {"schemas": ["shop"], "users": 1, "rewards": result["rewards"], "cold": 0, "dry_run": False}
    assert result["rewards"] > 0
    assert "Nothing to migrate" in bandstand("migrate", "--schema", "shop").out
    assert bandstand("verify").code == 0
    with start_server(bandstand.directory) as server:
        stats = httpx.get(f"{server.url}/stats/shop/anna", trust_env=False).json()
    assert stats["feature_labels"] == ["intercept", "overdue"]


def test_reset_forgets_what_was_learned_and_keeps_the_log(bandstand: Bandstand) -> None:
    bandstand.serve_users("anna", "bob")
    said = bandstand("reset", "anna")
    assert (said.code, said.out.split()) == (0, ["Reset", "ok", "yes"])
    found = load_states(bandstand.directory)
    assert found["anna"].policies == {}
    assert found["bob"].policies
    assert load_documents(bandstand.directory)["anna"]["policies"] == {}
    assert bandstand("reset", "a stranger").code == 0


@pytest.mark.parametrize("user_id", ["", "x" * 257, "a\nb", "\udcff"])
def test_what_is_no_user_s_id_is_refused_in_one_line(bandstand: Bandstand, user_id: str) -> None:
    bandstand.serve_users("anna")
    for words in (("reset", user_id), ("erase", user_id, "--yes")):
        refused = bandstand(*words)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith("bandstand: USER: ")
        assert refused.err.count("\n") == 1


def test_a_user_whose_id_looks_like_a_flag_can_be_forgotten(
    bandstand: Bandstand, monkeypatch: pytest.MonkeyPatch
) -> None:
    bandstand.serve_users("--yes")
    monkeypatch.setenv("STATE_DIR", str(bandstand.directory))
    result = CliRunner().invoke(command, ["state", "erase", "--yes", "--", "--yes"])
    assert result.exit_code == 0
    assert load_states(bandstand.directory) == {}


def test_erase_leaves_nothing_and_prints_the_receipt(bandstand: Bandstand) -> None:
    bandstand.serve_users("anna-of-the-woods", "bob")
    said = bandstand("erase", "anna-of-the-woods", "--yes")
    assert said.code == 0
    assert re.search(r"erased +decisions: 6 *\n", said.out)
    assert "backups made before" in said.out
    for path in bandstand.directory.rglob("*"):
        assert "anna-of-the-woods" not in path.name
        assert path.is_dir() or b"anna-of-the-woods" not in path.read_bytes()
    again = bandstand("erase", "anna-of-the-woods", "--yes", "--json").json
    assert set(again["erased"].values()) == {0}


@pytest.mark.parametrize(("answer", "gone"), [("y\n", True), ("n\n", False), ("", False)])
def test_erase_asks_first(bandstand: Bandstand, answer: str, gone: bool) -> None:
    bandstand.serve_users("anna", "bob")
    words = ["state", "erase", "anna", "--state-dir", str(bandstand.directory)]
    result = CliRunner().invoke(command, words, input=answer)
    assert "Erase user 'anna' and everything held about them?" in result.output
    assert (result.exit_code == 0) is gone
    assert ("anna" not in load_states(bandstand.directory)) is gone


def test_what_is_logged_on_the_way_is_not_in_the_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bandstand: Bandstand
) -> None:
    bandstand.serve_users("anna")
    capsys.readouterr()

    async def log_and_answer(_: ServiceContext) -> str:
        log = structlog.get_logger("bandstand")
        log.info("prior learned", policy="linucb-v2")
        log.warning("reservoir not filled", policy="linucb-v2")
        return "done"

    before = structlog.get_config()
    assert run_on_directory(resolve_location(str(tmp_path / "state")), log_and_answer) == "done"
    assert structlog.get_config() == before
    said = capsys.readouterr()
    assert said.out == ""
    assert "reservoir not filled" in said.err
    assert "prior learned" not in said.err


def test_revoke_leaves_what_others_gave_and_the_log(bandstand: Bandstand) -> None:
    bandstand.serve_users("anna", "bob")
    with ledger_of(bandstand.directory) as ledger:
        (taught,) = ledger.execute("SELECT count(*) FROM rewards").fetchone()
    would = bandstand("revoke", "--client", "tests", "--dry-run")
    assert "priors" not in would.out, "a dry run does not find out"
    assert would.out.startswith("Would be taken back (nothing was changed)\n")
    assert re.search(rf"rewards +{taught} *\n", would.out)
    assert bandstand("revoke", "--client", "another", "--json").json["rewards"] == 0
    done = bandstand("revoke", "--client", "tests", "--since", "2025-01-01", "--json").json
    assert (done["rewards"], done["users"], done["dry_run"]) == (taught, 2, False)
    for profile in load_states(bandstand.directory).values():
        assert all(state.reward_count == 0 and state.ridge is None for state in profile.policies.values())
        assert sum(state.pulls for state in profile.policies.values()) == 6
    assert bandstand("verify").code == 0
    assert bandstand("rebuild").code == 0
    assert bandstand("verify").code == 0
    again = bandstand("revoke", "--until", "2999-12-31T12:00+01:00", "--json").json
    assert (again["rewards"], again["passed_over"]["revoked_before"]) == (0, taught)
    with ledger_of(bandstand.directory) as ledger:
        assert ledger.execute("SELECT count(*) FROM rewards").fetchone() == (taught,)


def test_revoke_says_what_is_out_of_reach(bandstand: Bandstand) -> None:
    bandstand.serve_users("anna")
    trim_directory(bandstand.directory, NOON + 5 * DAY)
    said = bandstand("revoke", "--client", "tests")
    assert "1 users have a state that retention kept in place of events up to 2025-06-20T15:06:40+00:00" in said.out


# ── the command line ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_command_explains_itself() -> None:
    overview = CliRunner().invoke(command, ["state", "--help"], env={"COLUMNS": "200"}).output
    names = []
    for registered in state_commands.registered_commands:
        assert registered.callback is not None
        name = registered.name or registered.callback.__name__
        assert registered.callback.__doc__ is not None
        first = registered.callback.__doc__.splitlines()[0]
        assert first in overview
        page = CliRunner().invoke(command, ["state", name, "--help"], env={"COLUMNS": "200"}).output
        assert first in page
        assert ("--from" if name == "move" else "--state-dir") in page
        assert name == "export" or "--json" in page
        names.append(name)
    assert names == COMMANDS


def test_a_wrong_setting_is_refused_like_everywhere(bandstand: Bandstand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANDSTAND_CONFIG", "nowhere.toml")
    refused = bandstand("verify")
    assert refused.code == 2
    assert "BANDSTAND_CONFIG" in refused.err
    assert refused.err.count("\n") == 1


def test_the_page_on_operations_names_every_command_and_no_flag_that_there_is_not() -> None:
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
    named = set(re.findall(r"bandstand state ([a-z-]+)", page))
    assert named == set(COMMANDS)
    for words in re.findall(r"^(?:\S+=\S+ )?bandstand state ([^#\n]+)", page, re.MULTILINE):
        name, *rest = words.split()
        help_page = CliRunner().invoke(command, ["state", name, "--help"], env={"COLUMNS": "200"}).output
        for flag in (word for word in rest if word.startswith("--")):
            assert flag in help_page


# ── reactions under another table ─────────────────────────────────────────────────────────────────────────────────────

TABLE = """
[rewards.reactions]
name = "shop"
version = {version}

[rewards.reactions.rules]
dismiss = {dismiss}
done = [{{ below = 15000, reward = -0.3 }}, {{ reward = 0.75 }}]
"""


def test_reactions_of_the_past_are_taught_as_the_table_of_now_has_it(
    bandstand: Bandstand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory, and by a service's address; then documents are as the ledger has it."""

    async def serve() -> None:
        async with Served(bandstand.directory) as served:
            await served.live_history("bob")
            for reaction in (
                {"action": "dismiss"},
                {"action": "done", "dwell_ms": 45_000},
                {"action": "done", "dwell_ms": 5},
                {"action": "snooze"},
            ):
                decision_id = await served.decide("anna", "linucb-v2")
                await reward(served.deployment, {"decision_id": decision_id, "reaction": reaction}, client="tests")

    def sum_anna() -> float:
        state = load_states(bandstand.directory)["anna"].policies["linucb-v2", "tips-v2"]
        assert state.reward_count == 4
        return round(state.cumulative_reward, 9)

    asyncio.run(serve())
    assert bandstand("reapply-reactions", "--yes", "--json").json["unchanged"] == 4
    config = tmp_path / "shop.toml"
    config.write_text(TABLE.format(version=1, dismiss=-0.5), encoding="utf-8")
    monkeypatch.setenv("BANDSTAND_CONFIG", str(config))
    shown = bandstand("reapply-reactions")
    assert (shown.code, sum_anna()) == (0, -0.2)
    assert "nothing was changed; --yes does it" in shown.out
    expected = {"reactions": 4, "revised": 2, "unchanged": 1, "unmapped": 1, "users": 1}
    planned, done, again = (
        bandstand("reapply-reactions", *words, "--json").json for words in ((), ("--yes",), ("--yes",))
    )
    assert [answer.pop("dry_run") for answer in (planned, done)] == [True, False]
    assert planned | {"priors": done["priors"]} == done
    assert {name: done[name] for name in expected} == expected
    assert done["table"]["name"] == "shop"
    assert (again["revised"], again["unchanged"], sum_anna()) == (0, 3, 0.05)
    assert bandstand("verify").code == 0

    config.write_text(TABLE.format(version=2, dismiss=-0.25), encoding="utf-8")
    with start_server(bandstand.directory, BANDSTAND_CONFIG=str(config), API_KEYS=f"ops:admin:{SECRET}") as server:
        asked = ("reapply-reactions", "--since", "2020-01-01", "--url", server.url, "--api-key", SECRET, "--json")
        assert bandstand(*asked).json["revised"] == bandstand(*asked, "--yes").json["revised"] == 1
        assert server.terminate() == 0
    assert sum_anna() == 0.3
    assert bandstand("verify").code == 0

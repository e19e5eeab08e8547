"""User documents: one safe name each, written whole or not at all, believed only with their checksum."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandstand.bandit.profile import Profile
from bandstand.store.learners.documents import DocumentError, Documents, parse, render
from tests.store.checks import HOSTILE_IDS
from tests.store.given import CATALOGUE, assert_same

HERE = Path(__file__).parent
POLICY = CATALOGUE.policies["linucb-v2"]
KEY = (POLICY.name, POLICY.schema.name)

user_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)


def profile(user_id: str = "anna", rewards: int = 3) -> Profile:
    taught = Profile(user_id)
    for number in range(rewards):
        x = POLICY.schema.encode({"hour_of_day": number}, [{"priority": 1 + number % 4}])[0]
        taught.apply_decision(2 * number + 1, KEY, 1000.0 + number, exploring=number == 0)
        taught.apply_reward(2 * number + 2, KEY, 1000.5 + number, x, 0.1 * number, 1.0)
    return taught


@settings(max_examples=300)
@given(user_ids)
def test_a_name_is_safe_on_any_file_system(user_id: str) -> None:
    state_dir = Path("/state")
    path = Documents(state_dir).path(user_id)
    assert path.parent.parent == state_dir / "users"
    assert len(path.name) <= 40 + 1 + 32 + len(".json")
    assert set(path.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
    assert not path.name.startswith((".", "-"))
    assert path.stem.split("-")[-1][:2] == path.parent.name


@settings(max_examples=300)
@given(user_ids, user_ids)
def test_different_users_have_different_names(one: str, other: str) -> None:
    documents = Documents(Path("/state"))
    assert (documents.path(one) == documents.path(other)) == (one == other)


def test_a_document_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    documents = Documents(tmp_path)
    for user_id in HOSTILE_IDS:
        written = profile(user_id)
        documents.write(written)
        read = documents.read(user_id)
        assert read is not None
        assert read.to_json() == written.to_json()
        assert_same(written, read)
    assert len(list(documents.iter_paths())) == len(HOSTILE_IDS)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 2**62))
def test_every_number_survives(ts: float, seq: int) -> None:
    written = Profile("anna")
    written.apply_decision(seq, KEY, ts, exploring=True)
    assert parse(render(written)).to_json() == written.to_json()


def test_a_stranger_has_no_document(tmp_path: Path) -> None:
    assert Documents(tmp_path).read("nobody") is None
    assert Documents(tmp_path).delete("nobody") == 0
    assert list(Documents(tmp_path).iter_paths()) == []


def test_the_newest_document_replaces_the_older(tmp_path: Path) -> None:
    documents = Documents(tmp_path)
    for rewards in range(5):
        documents.write(profile("anna", rewards))
        assert [path.suffix for path in (tmp_path / "users").rglob("*.*")] == [".json"]
    read = documents.read("anna")
    assert read is not None
    assert read.policies[KEY].reward_count == 4


def test_a_failed_write_leaves_the_old_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = Documents(tmp_path)
    documents.write(profile("anna", 1))
    for module, function in (("os", "replace"), ("pathlib.Path", "write_bytes")):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module}.{function}", _no_space)
            with pytest.raises(OSError, match="No space"):
                documents.write(profile("anna", 2))
        read = documents.read("anna")
        assert read is not None
        assert read.policies[KEY].reward_count == 1
        assert len(list((tmp_path / "users").rglob("*.*"))) == 1, "no temporary file stays"


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_set_aside_keeps_every_form(tmp_path: Path) -> None:
    documents = Documents(tmp_path)
    for rewards in range(4):
        documents.write(profile("anna", rewards))
        documents.set_aside("anna")
    assert documents.quarantined == 4
    assert documents.read("anna") is None
    kept = sorted(parse(path.read_bytes()).seq for path in documents.list_quarantined())
    assert kept == [0, 2, 4, 6]


def test_deleting_takes_every_form_of_this_user_and_of_no_other(tmp_path: Path) -> None:
    documents = Documents(tmp_path)
    for user_id in ("anna", "anna-b", "annab"):
        for _ in range(3):
            documents.write(profile(user_id))
            documents.set_aside(user_id)
        documents.write(profile(user_id))
    documents.path("anna").with_suffix(".tmp").write_bytes(b"half a docu")
    assert documents.delete("anna") == 5
    assert documents.read("anna") is None
    left = [*documents.iter_paths(), *documents.list_quarantined()]
    assert sorted(parse(path.read_bytes()).user_id for path in left) == ["anna-b"] * 4 + ["annab"] * 4
    assert not list((tmp_path / "users").rglob("*.tmp"))


def test_another_users_document_is_refused(tmp_path: Path) -> None:
    documents = Documents(tmp_path)
    documents.write(profile("anna"))
    documents.path("berta").parent.mkdir(exist_ok=True)
    documents.path("anna").rename(documents.path("berta"))
    with pytest.raises(DocumentError, match="another user"):
        documents.read("berta")


def test_a_document_of_a_later_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr("bandstand.bandit.profile.DOCUMENT_VERSION", 2)
        document = render(profile())
    with pytest.raises(DocumentError):
        parse(document)


def test_a_document_of_version_1_is_read_for_ever() -> None:
    """Written by the first release; never to be rewritten."""
    read = parse((HERE / "data" / "user-v1.json").read_bytes())
    assert read.user_id == "../anna \U0001f98a"
    assert (read.seq, read.reset_seq) == (1835008000000000005, 1835008000000000001)
    assert set(read.policies) == {("linucb-v1", "tips-5"), ("linucb-v2", "tips-v2")}
    state = read.policies["linucb-v1", "tips-5"]
    assert (state.pulls, state.explores, state.reward_count, state.cumulative_reward) == (1, 1, 1, -0.3)
    assert state.last_updated == 1_750_000_001.5
    assert state.ridge is not None
    assert state.ridge.gram.tolist()[0] == [0.25, 0.0, 0.5, 0.0, 0.0]
    assert state.ridge.b.tolist() == [-0.15, -0.0, -0.3, -0.0, -0.0]
    assert read.policies["linucb-v2", "tips-v2"].ridge is None
    assert json.loads(render(read)) == json.loads((HERE / "data" / "user-v1.json").read_bytes())


def test_a_document_is_believed_by_what_it_says_whatever_its_spaces() -> None:
    written = profile()
    document = json.loads(render(written))
    for text in (json.dumps(document), json.dumps(document, indent=2), json.dumps(document, separators=(",", ":"))):
        assert_same(parse(text.encode("ascii")), written)
        changed = text.replace('"reset_seq":0', '"reset_seq":1').replace('"reset_seq": 0', '"reset_seq": 1')
        assert changed != text
        with pytest.raises(DocumentError, match="checksum"):
            parse(changed.encode("ascii"))


def test_what_follows_the_checksum_is_not_believed() -> None:
    text = render(profile())
    for more in (b'"reset_seq":9', b'"policies":{}', b'"user_id":"somebody else"', b'"of":"nobody"'):
        with pytest.raises(DocumentError, match="checksum"):
            parse(text.replace(b'"}\n', b'",' + more + b"}\n"))

"""A prior learned from every user, in parts, is the one that a service learns which sees them all."""

from pathlib import Path

import pytest

from bandstand.bandit.population import PopulationPrior
from bandstand.errors import InvalidRequestError
from bandstand.learning.offline_prior import FittedPrior, PriorPlan, fit_offline_prior, plan_prior, write_user_sums
from bandstand.learning.taught_users import DirectoryUsers
from bandstand.service import users as users_service
from bandstand.store.maintenance.offline import no_tick, open_owned, open_read_only
from tests.learning.test_population import POLICY, Learning, is_same
from tests.store.given import CATALOGUE


def write_parts(folder: Path, plan: PriorPlan, numbers: range) -> list[Path]:
    paths = [folder / f"{number}.users" for number in numbers]
    with open_read_only(folder / "state", CATALOGUE) as state:
        for number, path in zip(numbers, paths, strict=True):
            write_user_sums(DirectoryUsers(state), plan, number, POLICY, path, no_tick)
    return paths


def plan_parts(folder: Path, count: int) -> PriorPlan:
    with open_read_only(folder / "state", CATALOGUE) as state:
        plan = plan_prior(DirectoryUsers(state), POLICY, count)
    (folder / "plan.json").write_text(plan.to_text())
    return PriorPlan.read(folder / "plan.json")


def reduce_parts(folder: Path, plan: PriorPlan, paths: list[Path]) -> FittedPrior:
    with open_owned(folder / "state", CATALOGUE) as state:
        return fit_offline_prior(DirectoryUsers(state), plan, POLICY, paths)


@pytest.mark.parametrize("users", [6, 24])  # each with a prior of their own, and too many for that
async def test_it_is_what_a_service_learns_that_sees_all_users_and_is_taken_up_by_it(
    tmp_path: Path, users: int
) -> None:
    service = Learning(tmp_path / "state", refresh_rewards=10_000)
    await service.open()
    await service.teach_policy(users, each=3)
    await service.deployment.population.refresh_prior("linucb-v2")
    served = await service.read_prior_file()
    expected = PopulationPrior.from_json(served)
    plan = plan_parts(tmp_path, 4)
    paths = write_parts(tmp_path, plan, range(len(plan.parts)))  # beside the service
    await service.close()
    fitted = reduce_parts(tmp_path, plan, paths[::-1])
    assert fitted == FittedPrior("linucb-v2", 2, users, 3 * users, 0)
    document = service.files.read("linucb-v2")
    assert document is not None
    assert (document["members"], document["parent"]) == (served["members"], served["checksum"])
    found = PopulationPrior.from_json(document)
    assert found.leave_one_out.keys() == expected.leave_one_out.keys()
    for one, other in (
        (found.estimate, expected.estimate),
        (found.shared, expected.shared),
        *((found.get_prior(user_id), prior) for user_id, prior in expected.leave_one_out.items()),
    ):
        assert is_same(one, other, within=1e-9)
    service.open_again()
    await service.open()
    assert service.deployment.population.build_summary()["linucb-v2"]["generation"] == 2
    assert is_same(service.prior(), expected.shared, within=1e-9)
    await users_service.erase(service.deployment, "user-1", "tests")
    assert service.deployment.population.build_summary()["linucb-v2"]["generation"] == 3
    await service.close()


async def test_who_goes_before_the_parts_are_joined_is_not_in_it(tmp_path: Path) -> None:
    service = Learning(tmp_path / "state", refresh_rewards=10_000)
    await service.open()
    await service.teach_policy(6, each=3)
    plan = plan_parts(tmp_path, 2)
    paths = write_parts(tmp_path, plan, range(2))
    await users_service.erase(service.deployment, "user-4", "tests")
    await service.teach_policy(1, each=3, first=4)  # who comes back is somebody new
    await service.close()
    assert reduce_parts(tmp_path, plan, paths) == FittedPrior("linucb-v2", 1, 5, 15, 1)
    document = service.files.read("linucb-v2")
    assert document is not None
    assert "user-4" not in {*document["members"], *document["former"]}


async def test_parts_that_do_not_make_a_whole_are_refused_by_name(tmp_path: Path) -> None:
    service = Learning(tmp_path / "state", refresh_rewards=10_000)
    await service.open()
    await service.teach_policy(5, each=1)
    await service.close()
    plan, other = plan_parts(tmp_path, 2), plan_parts(tmp_path, 3)
    paths = write_parts(tmp_path, plan, range(2))

    def refuse(message: str, *given: Path, plan: PriorPlan = plan) -> None:
        with pytest.raises(InvalidRequestError, match=message):
            reduce_parts(tmp_path, plan, list(given))

    refuse("^part 1 is missing, of 2$", paths[0])
    refuse("1.users: is part 1, as .*1.users is", paths[0], paths[1], paths[1])
    refuse("0.users: is of another plan", paths[0], plan=other)
    refuse("No such file", tmp_path / "nothing")
    whole = paths[1].read_bytes()
    for broken in (whole[:-1], whole[: len(whole) // 2], b"", b"{}\n"):
        paths[1].write_bytes(broken)
        refuse("1.users: is not what users of a part have taught", *paths)
    with pytest.raises(InvalidRequestError, match="there is no part 2"):
        write_parts(tmp_path, plan, range(2, 3))
    (tmp_path / "plan.json").write_text(plan.to_text().replace("linucb-v2", "linucb-v1"))
    with pytest.raises(InvalidRequestError, match="was changed since it was planned"):
        PriorPlan.read(tmp_path / "plan.json")

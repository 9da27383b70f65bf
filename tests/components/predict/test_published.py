"""A version that is published, by this run or another one, is neither planned nor predicted again."""

from datetime import date
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from components.extract.extraction import write_snapshot
from components.predict import prediction
from components.predict.plan import plan_predictions
from components.predict.prediction import NOT_NEEDED, PredictedShard, predict_shard
from components.reverse_etl.acceptance import Thresholds
from components.reverse_etl.publication import Publication, publish
from steam_recsys.data.predictions import Plan, predictions_uri
from steam_recsys.errors import UserError
from steam_recsys.publications.destinations import DestinationConfig, is_published, kept_versions, rollback
from steam_recsys.publications.versions import VersionInfo
from steam_recsys.storage.folder import Folder, open_folder
from steam_recsys.storage.manifest import remove_artifact
from tests.damage import fail_removals
from tests.explorer.publishing_runs import fill_shop, promote_random_model

USERS_PER_SHARD = 15


class Run:
    """The inference runs of a shop."""

    def __init__(self, database: str, store: str, folder: Path) -> None:
        self.config, self.store, self.folder = DestinationConfig(database), store, folder

    def plan(self) -> Plan:
        write_snapshot(self.config.database, self.folder / "snapshot", self.store)
        return plan_predictions(self.folder / "snapshot", self.store, USERS_PER_SHARD, config=self.config)

    def predict(self, plan: Plan) -> list[PredictedShard]:
        return [predict_shard(self.store, plan, shard, self.config) for shard in range(len(plan.shards))]

    def publish(self, plan: Plan) -> Publication:
        made = VersionInfo(
            plan.version, plan.model_version, plan.snapshot_id, date.fromisoformat(plan.as_of), plan.control_share
        )
        uri = predictions_uri(self.store, plan.version)
        return publish(self.config, uri, made, plan.shards, Thresholds(churn_ceiling=1.0))

    def whole(self) -> Publication:
        plan = self.plan()
        self.predict(plan)
        return self.publish(plan)

    def left(self) -> list[str]:
        return open_folder(f"{self.store}/predictions").names("")

    def versions(self) -> list[tuple[str, bool]]:
        return [(each.version, each.current) for each in kept_versions(self.config)["PostgreSQL"]]


@pytest.fixture
def run(shop: Connection, database: str, any_store: str, tmp_path: Path) -> Run:
    fill_shop(shop)
    promote_random_model(any_store, tmp_path / "model")
    return Run(database, any_store, tmp_path)


@pytest.fixture
def local_run(shop: Connection, database: str, store: str, tmp_path: Path) -> Run:
    """Runs with a store on disk."""
    fill_shop(shop)
    promote_random_model(store, tmp_path / "model")
    return Run(database, store, tmp_path)


def not_needed(plan: Plan) -> list[PredictedShard]:
    return [PredictedShard(shard, 0, NOT_NEEDED, finished_before=True) for shard in range(len(plan.shards))]


def test_a_published_version_is_neither_planned_nor_predicted_again(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run.whole()
    assert (first.switched, run.left()) == (True, [])
    plan = run.plan()
    assert plan.version == first.version
    assert f"[plan] publication {first.version} is already published\n" in capsys.readouterr().out
    assert run.predict(plan) == not_needed(plan)
    again = run.publish(plan)
    assert (again.switched, again.users, run.left()) == (False, first.users, [])


def test_a_version_that_was_rolled_back_is_not_predicted_again_either(run: Run) -> None:
    first = run.whole()
    promote_random_model(run.store, run.folder / "second", "model-2", seed=1)
    second = run.whole()
    assert rollback(run.config) == first.version
    plan = run.plan()
    assert plan.version == second.version
    assert run.predict(plan) == not_needed(plan)
    assert run.publish(plan).switched is False
    assert run.versions() == [(second.version, False), (first.version, True)]


def test_a_run_that_is_overtaken_before_it_predicts_ends_well(run: Run) -> None:
    overtaken, plan = run.plan(), run.plan()
    run.predict(plan)
    assert run.publish(plan).switched
    assert run.predict(overtaken) == not_needed(overtaken)
    assert run.publish(overtaken).switched is False
    assert (run.versions(), run.left()) == ([(plan.version, True)], [])


def test_a_run_that_is_overtaken_while_it_predicts_ends_well(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    overtaken, load = run.plan(), prediction._load_recommender

    def overtake(*arguments):
        loaded = load(*arguments)
        monkeypatch.setattr(prediction, "_load_recommender", load)
        run.whole()
        return loaded

    monkeypatch.setattr(prediction, "_load_recommender", overtake)
    assert run.predict(overtaken) == not_needed(overtaken)
    assert run.publish(overtaken).switched is False
    assert (run.versions(), run.left()) == ([(overtaken.version, True)], [])


def test_a_run_that_is_overtaken_before_it_publishes_ends_well(run: Run) -> None:
    overtaken, plan = run.plan(), run.plan()
    run.predict(overtaken)
    assert run.publish(plan).switched
    assert run.publish(overtaken).switched is False
    assert (run.versions(), run.left()) == ([(plan.version, True)], [])


def test_a_plan_that_was_removed_before_its_version_was_published_is_reported(run: Run) -> None:
    plan = run.plan()
    assert not is_published(run.config, plan.version)
    open_folder(predictions_uri(run.store, plan.version)).remove("")
    sentence = r"holds no complete plan \(manifest\.json is missing\): run the inference pipeline again\.$"
    with pytest.raises(UserError, match=sentence):
        run.predict(plan)
    assert run.whole().switched


def test_a_version_that_one_of_two_destinations_lacks_is_planned(run: Run) -> None:
    version = run.whole().version
    both = DestinationConfig(run.config.database, "both", "env:MONGODB_URL")
    assert is_published(run.config, version)
    assert not is_published(run.config, "another")
    with pytest.raises(UserError, match="MONGODB_URL"):  # it is asked as well
        is_published(both, version)


def contents(folder: Folder) -> dict[str, bytes]:
    return {name: folder.read(name) for name in folder.names("")}


@pytest.mark.slow
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "refused"])
def test_a_clean_up_that_is_cut_off_after_any_file_wedges_no_later_run(
    run: Run, killed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = run.plan()
    run.predict(plan)
    folder = open_folder(predictions_uri(run.store, plan.version))
    whole = contents(folder)
    assert len(whole) == 2 + 2 * len(plan.shards) + 2 + len(plan.shards)
    for removals in range(len(whole)):
        for name, content in whole.items():
            folder.write(name, content)
        with monkeypatch.context() as patch:
            fail_removals(patch, run.store, removals, killed)
            if killed:
                with pytest.raises(KeyboardInterrupt):
                    run.publish(plan)
            else:
                assert run.publish(plan).version == plan.version
        assert run.versions() == [(plan.version, True)]
        output = capsys.readouterr().out
        # On disk what cannot be removed is passed over, except the manifest.
        assert killed or (removals and run.store.startswith("/")) or "could not be removed, a later run" in output
        assert len(folder.names("")) == len(whole) - removals
        assert run.plan() == plan
        assert {each.users for each in run.predict(plan)} <= {0, USERS_PER_SHARD}
        assert run.publish(plan).switched is False
        assert folder.names("") == []


def test_without_its_manifest_what_a_clean_up_left_is_planned_again(run: Run) -> None:
    """As after a database was restored from a backup that does not have the version."""
    plan = run.plan()
    folder = open_folder(predictions_uri(run.store, plan.version))
    whole = contents(folder)
    for left in sorted(set(whole) - {"manifest.json"}):
        remove_artifact(folder)
        folder.write(left, whole[left])
        assert plan_predictions(run.folder / "snapshot", run.store, USERS_PER_SHARD) == plan
        assert contents(folder) == whole


def test_the_next_publication_leaves_dismissed_games_out_and_has_others_instead(
    local_run: Run, shop: Connection
) -> None:
    def lists(user: int) -> dict[str, list[int]]:
        with shop.cursor() as cursor:
            cursor.execute("SELECT list, game_ids FROM recsys.recommendations WHERE user_id = %s", [user])
            return dict(cursor.fetchall())

    first = local_run.whole()
    before, other = lists(1), lists(2)
    dismissed = [*before["relevance"][:3], *before["interests"][:2], 10**6]
    with shop.cursor() as cursor:
        cursor.execute("SELECT recsys.record_event(1, game_id, 'dismissed') FROM unnest(%s) AS game_id", [dismissed])
    second = local_run.whole()
    after = lists(1)
    assert second.version != first.version
    assert not {game for games in after.values() for game in games} & set(dismissed)
    assert len(after["relevance"]) == len(before["relevance"])
    kept = [game for game in before["relevance"] if game not in dismissed]
    assert after["relevance"][: len(kept)] == kept
    assert lists(2) == other
    assert local_run.whole().version == second.version


def test_users_of_the_control_group_have_no_lists_and_are_not_missed_by_acceptance(
    local_run: Run, shop: Connection
) -> None:
    local_run.whole()
    write_snapshot(local_run.config.database, local_run.folder / "snapshot", local_run.store)
    plan = plan_predictions(
        local_run.folder / "snapshot", local_run.store, USERS_PER_SHARD, control_share=0.4, config=local_run.config
    )
    local_run.predict(plan)
    info = VersionInfo(plan.version, plan.model_version, plan.snapshot_id, date.fromisoformat(plan.as_of), 0.4)
    publish(
        local_run.config, predictions_uri(local_run.store, plan.version), info, plan.shards,
        Thresholds(churn_ceiling=1.0, churn_users=10),
    )  # fmt: skip
    with shop.cursor() as cursor:
        cursor.execute(
            "SELECT recsys.in_control_group(user_id, 0.4), count(*), count(r.user_id) FROM steam.users "
            "LEFT JOIN recsys.recommendations AS r USING (user_id) WHERE list IS NULL OR list = 'relevance' "
            "GROUP BY 1 ORDER BY 1"
        )
        (_, others, served), (_, control, unserved) = cursor.fetchall()
    assert (served, unserved) == (others, 0)
    assert control >= 5


@pytest.mark.parametrize("share", [-0.1, 0.6, float("nan")])
def test_a_control_group_of_more_than_half_of_the_users_is_refused(local_run: Run, share: float) -> None:
    write_snapshot(local_run.config.database, local_run.folder / "snapshot", local_run.store)
    with pytest.raises(UserError, match=f"^control_share is {share:g}: give a number from 0 to 0.5.$"):
        plan_predictions(local_run.folder / "snapshot", local_run.store, USERS_PER_SHARD, control_share=share)

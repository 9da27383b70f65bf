"""Refreshes of the current publication."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pymongo
import pytest
from psycopg2.extensions import connection as Connection

from components.extract.parts import KEY_RANGES
from components.refresh import changes
from components.refresh import refresh as stage
from steam_recsys.data.interactions import Reviews
from steam_recsys.data.snapshot import DataFile, Snapshot
from steam_recsys.errors import UserError
from steam_recsys.model.game_counts import COUNTS_FILE
from steam_recsys.publications.control_group import in_control_group
from steam_recsys.publications.destinations import (
    DestinationConfig,
    Destinations,
    kept_versions,
    open_destinations,
    rollback,
)
from steam_recsys.publications.updates import VersionUpdate
from tests.components.refresh.refreshing import PublishedShop, lists_of, of_users, popular_of
from tests.explorer.publishing_runs import USERS, fill_shop, promote_random_model
from tests.shop import add_game, add_review, add_user

LATEST = date(2024, 9, 1)
"""After all reviews of the shop."""


@pytest.fixture
def published(shop: Connection, database: str, store: str, tmp_path: Path) -> PublishedShop:
    """A published shop with users 1 to `USERS`, the last three of whom have no reviews."""
    fill_shop(shop)
    promote_random_model(store, tmp_path / "model")
    found = PublishedShop(DestinationConfig(database), store, tmp_path)
    found.publish()
    return found


def execute(connection: Connection, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def change_everything(shop: Connection) -> set[int]:
    """Add, change and delete reviews, also of new users and a new game; the users concerned."""
    new_game = add_game(shop, "New game", genres=["Indie"], released_on=LATEST)
    new_user, reviewer_again = add_user(shop, "new user"), 5
    execute(shop, "INSERT INTO steam.users (user_id, username) VALUES (-7, 'below all ranges')")
    add_review(shop, 1, new_game, reviewed_on=LATEST)
    add_review(shop, new_user, 3, reviewed_on=LATEST)
    add_review(shop, -7, 4, reviewed_on=LATEST)
    add_review(shop, 2, 7, reviewed_on=date(2023, 2, 1))  # late: it is older than those that were known
    add_review(shop, USERS, 8, recommended=False, reviewed_on=None)  # the first one of this user, without a day
    add_review(shop, None, 9, reviewed_on=LATEST)
    execute(
        shop,
        "INSERT INTO steam.reviews (user_id, game_id, recommended, reviewed_on) "
        f"SELECT user_id, game_id, NOT recommended, '{LATEST}' FROM steam.reviews WHERE user_id = 5 LIMIT 1",
    )
    execute(shop, "DELETE FROM steam.reviews WHERE user_id = 4")
    execute(shop, "UPDATE steam.reviews SET recommended = NOT recommended, updated_at = now() WHERE user_id = 3")
    execute(shop, "UPDATE steam.reviews SET helpful = 7, updated_at = now() WHERE user_id = 6")  # of no consequence
    return {1, 2, 3, 4, -7, USERS, new_user, reviewer_again}


def test_users_with_changed_reviews_get_the_lists_of_a_new_publication(
    shop: Connection, published: PublishedShop
) -> None:
    before = lists_of(shop)
    users = change_everything(shop)
    done = published.refresh()
    assert (done.outcome, done.users, done.new_games) == ("refreshed", len(users), 1)
    expected, popular = published.predicted(published.predict())
    found = lists_of(shop)
    assert of_users(found, users) == of_users(expected, users)
    others = {user for user, _ in before} - users
    assert of_users(found, others) == of_users(before, others)
    assert popular_of(shop) == popular
    assert published.current.users == len({user for user, _ in found})
    assert published.current.rows == sum(map(len, found.values()))

    # The next refresh counts on from this one.
    execute(shop, "UPDATE steam.reviews SET recommended = NOT recommended, updated_at = now() WHERE user_id IN (3, 7)")
    execute(shop, "DELETE FROM steam.reviews WHERE user_id = -7")
    add_review(shop, 8, 2, reviewed_on=LATEST + timedelta(days=40))
    assert published.refresh().users == 4
    expected, popular = published.predicted(published.predict())
    assert of_users(lists_of(shop), {3, 7, -7, 8}) == of_users(expected, {3, 7, -7, 8})
    assert popular_of(shop) == popular


def test_without_changes_nothing_is_written(shop: Connection, published: PublishedShop) -> None:
    assert published.refresh().outcome == "nothing has changed"
    add_review(shop, 1, 2, reviewed_on=LATEST)
    older = published.extract()
    add_review(shop, 2, 2, reviewed_on=LATEST)
    assert published.refresh().users == 2
    found = lists_of(shop)
    assert published.refresh(older).outcome == "it knows a later snapshot already"
    assert published.refresh().outcome == "nothing has changed"
    assert lists_of(shop) == found


def test_nothing_is_refreshed_before_the_first_publication(shop: Connection, database: str, store: str, tmp_path: Path):
    fill_shop(shop)
    done = PublishedShop(DestinationConfig(database), store, tmp_path).refresh()
    assert (done.version, done.outcome) == (None, "nothing has been published yet")


def test_reviews_from_the_future_are_ignored(shop: Connection, published: PublishedShop) -> None:
    before, popular = lists_of(shop), popular_of(shop)
    add_review(shop, 1, 2, reviewed_on=date.today() + timedelta(days=400))
    assert published.refresh().users == 0
    assert (lists_of(shop), popular_of(shop)) == (before, popular)


def test_user_who_left_the_shop_has_no_lists(shop: Connection, published: PublishedShop) -> None:
    execute(shop, "DELETE FROM steam.reviews WHERE user_id = 1; DELETE FROM steam.users WHERE user_id = 1")
    assert published.refresh().users == 1
    assert of_users(lists_of(shop), {1}) == {}
    assert published.current.users == USERS - 1


def test_a_version_whose_users_have_all_left_can_still_be_read_by_the_next_publication(
    shop: Connection, published: PublishedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "MIN_SHARE", 0)
    for user in (USERS - 2, USERS - 1, USERS):
        add_review(shop, user, 1, reviewed_on=LATEST)
    assert published.refresh().users == 3
    execute(shop, "DELETE FROM steam.reviews; DELETE FROM steam.users")
    assert published.refresh().users == USERS
    assert published.current.users == 0
    with open_destinations(published.config) as destinations:
        current = destinations.primary.current_version()
    assert current is not None
    assert not current.sample


def test_a_review_of_a_game_that_is_newer_than_the_snapshot_changes_no_recommendation(
    shop: Connection, published: PublishedShop
) -> None:
    add_review(shop, 1, 2, reviewed_on=LATEST)
    snapshot = published.extract()
    expected, _ = published.predicted(published.predict())
    add_review(shop, 1, add_game(shop, "Newer game", genres=["Indie"], released_on=LATEST), reviewed_on=LATEST)
    assert published.refresh(snapshot).users == 1
    assert of_users(lists_of(shop), {1}) == of_users(expected, {1})


def test_games_that_a_user_has_dismissed_are_left_out(shop: Connection, published: PublishedShop) -> None:
    before = lists_of(shop)
    dismissed = [*before[1, "relevance"][:3], *before[1, "interests"][:2], 10**6]
    with shop.cursor() as cursor:
        cursor.execute("SELECT recsys.record_event(1, game_id, 'dismissed') FROM unnest(%s) AS game_id", [dismissed])
        cursor.execute("SELECT recsys.record_event(3, 1, 'dismissed')")
    for user in (1, 2):
        add_review(shop, user, before[2, "relevance"][0], reviewed_on=LATEST)
    assert published.refresh().users == 2
    found = lists_of(shop)
    assert not {game for games in of_users(found, {1}).values() for game in games} & set(dismissed)
    expected, _ = published.predicted(published.predict())
    assert of_users(found, {1, 2}) == of_users(expected, {1, 2})


def test_users_of_the_control_group_get_no_lists_and_their_reviews_count(
    shop: Connection, database: str, store: str, tmp_path: Path
) -> None:
    fill_shop(shop)
    promote_random_model(store, tmp_path / "model")
    published = PublishedShop(DestinationConfig(database), store, tmp_path)
    published.publish(control_share=0.4)
    before, users = published.current.users, np.arange(1, USERS + 1)
    control = in_control_group(users, 0.4)
    changed = {int(users[control][0]), int(users[control][1]), int(users[~control][0])}
    for user in changed:
        add_review(shop, user, 2, reviewed_on=LATEST)
    assert published.refresh().users == 1
    expected, popular = published.predicted(published.predict(control_share=0.4))
    found = lists_of(shop)
    assert not {user for user, _ in found} & set(users[control].tolist())
    assert of_users(found, changed) == of_users(expected, changed)
    assert popular_of(shop) == popular
    assert published.current.users == before


def test_versions_are_measured_by_the_games_that_were_published(shop: Connection, published: PublishedShop) -> None:
    version = published.current.version
    with open_destinations(published.config) as destinations:
        before, popular = destinations.primary.first_games(version, [1, 2, 3], 10), popular_of(shop)
        published_popular = destinations.primary.popular_games(version)
        new = add_user(shop, "new")
        for user in (1, new):
            add_review(shop, user, before[1][0], reviewed_on=LATEST)
            published.refresh()
            add_review(shop, user, before[1][1], reviewed_on=LATEST)
            published.refresh()
        assert before[1][0] not in lists_of(shop)[1, "relevance"]
        assert popular_of(shop) != popular
        assert destinations.primary.popular_games(version) == published_popular
        assert destinations.primary.first_games(version, [1, 2, 3, new], 10) == before


def test_a_rollback_and_the_next_publication_work_as_before(shop: Connection, published: PublishedShop) -> None:
    first = published.current.version
    add_review(shop, 1, 2, reviewed_on=LATEST)
    published.refresh()
    second = published.publish().version
    add_review(shop, 2, 3, reviewed_on=LATEST)
    published.refresh()
    assert rollback(published.config) == first
    assert published.refresh().users == 1  # since the refresh of the first version
    expected, _ = published.predicted(published.predict(20))
    assert of_users(lists_of(shop), {2}) == of_users(expected, {2})
    third = published.publish(15).version
    assert [each.version for each in kept_versions(published.config)["PostgreSQL"]] == [third, second, first]
    fourth = published.publish(16).version
    assert published.current.version == fourth
    with shop.cursor() as cursor:
        cursor.execute("SELECT DISTINCT version FROM recsys.replaced_lists")
        assert {version for (version,) in cursor.fetchall()} <= {first, third, fourth}


def test_a_refresh_that_meets_a_switch_starts_over(
    shop: Connection, published: PublishedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = published.current.version
    published.publish(15)
    add_review(shop, 1, 2, reviewed_on=LATEST)
    update, switches = Destinations.update, [1]

    def after_a_rollback(destinations: Destinations, change: VersionUpdate) -> bool:
        if switches.pop(0) if switches else False:
            rollback(published.config)
        return update(destinations, change)

    monkeypatch.setattr(Destinations, "update", after_a_rollback)
    done = published.refresh()
    assert (done.version, done.outcome, done.users) == (first, "refreshed", 1)


def test_of_two_refreshes_at_once_one_finds_nothing_to_do(
    shop: Connection, published: PublishedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_review(shop, 1, 2, reviewed_on=LATEST)
    snapshot = published.extract()
    update, others = Destinations.update, []

    def after_another(destinations: Destinations, change: VersionUpdate) -> bool:
        monkeypatch.setattr(Destinations, "update", update)
        others.append(published.refresh(snapshot).outcome)
        return destinations.update(change)

    monkeypatch.setattr(Destinations, "update", after_another)
    assert published.refresh(snapshot).outcome == "nothing has changed"
    assert others == ["refreshed"]


def test_a_refresh_that_always_meets_a_switch_fails(
    shop: Connection, published: PublishedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_review(shop, 1, 2, reviewed_on=LATEST)
    monkeypatch.setattr(Destinations, "update", lambda *_: False)
    with pytest.raises(UserError, match=f"changed {stage.TRIES} times during the refresh: run it again"):
        published.refresh()


def test_damaged_counts_are_reported(shop: Connection, published: PublishedShop) -> None:
    add_review(shop, 1, 2, reviewed_on=LATEST)
    (path,) = (Path(published.store) / "counts").rglob(COUNTS_FILE)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"counts.parquet is damaged, .*: run the inference pipeline\."):
        published.refresh()


def test_a_removed_snapshot_leaves_the_version_as_it_is(shop: Connection, published: PublishedShop) -> None:
    for manifest in (Path(published.store) / "snapshots" / "manifests").iterdir():
        manifest.unlink()
    add_review(shop, 1, 2, reviewed_on=LATEST)
    assert published.refresh().outcome.endswith("any more, the next publication is fresh again")


def test_very_many_changes_are_left_to_the_next_publication(
    shop: Connection, published: PublishedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "MAX_USERS", 1)
    before = lists_of(shop)
    for user in (1, 2):
        add_review(shop, user, 2, reviewed_on=LATEST)
    assert published.refresh().outcome == "more than 1 users have new, changed or deleted reviews: run inference"
    assert lists_of(shop) == before


def test_no_more_reviews_are_read_once_too_many_users_have_other_ones(
    shop: Connection, published: PublishedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    bits = KEY_RANGES["reviews"].bits
    for key_range in (1, 2, 3):
        execute(
            shop,
            "INSERT INTO steam.reviews (review_id, user_id, game_id, recommended, reviewed_on) "
            f"SELECT ({key_range} << {bits}) + user_id, user_id, 2, true, '{LATEST}' FROM steam.users "
            "WHERE user_id < 3",
        )
    read, read_file = list[int](), changes._read

    def recording(snapshot: Snapshot, file: DataFile | None) -> Reviews:
        read.extend([file.key_range] if file else [])
        return read_file(snapshot, file)

    monkeypatch.setattr(changes, "_read", recording)
    monkeypatch.setattr(stage, "MAX_USERS", 1)
    assert published.refresh().outcome == "more than 1 users have new, changed or deleted reviews: run inference"
    assert read == [1]


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("reviews", "DELETE FROM steam.reviews"),
        ("reviews", "DELETE FROM steam.reviews WHERE user_id > 1"),
        ("users", "UPDATE steam.reviews SET user_id = NULL; DELETE FROM steam.users WHERE user_id > 1"),
    ],
)
def test_a_source_that_lost_most_of_its_rows_changes_nothing(
    shop: Connection, published: PublishedShop, table: str, statement: str
) -> None:
    before, popular = lists_of(shop), popular_of(shop)
    execute(shop, statement)
    done = published.refresh()
    assert (done.outcome, done.users) == (f"fewer than half of the {table} are left: run inference", 0)
    assert (lists_of(shop), popular_of(shop)) == (before, popular)


def test_reviews_that_are_loaded_again_are_refreshed(shop: Connection, published: PublishedShop) -> None:
    execute(shop, "CREATE TEMP TABLE saved AS SELECT * FROM steam.reviews")
    execute(shop, "DELETE FROM steam.reviews")
    assert published.refresh().outcome == "fewer than half of the reviews are left: run inference"
    execute(shop, "INSERT INTO steam.reviews OVERRIDING SYSTEM VALUE SELECT * FROM saved")
    add_review(shop, 1, 2, reviewed_on=LATEST)
    done = published.refresh()
    assert (done.outcome, done.users) == ("refreshed", 1)


@pytest.mark.parametrize("publish_to", ["mongodb", "both"])
def test_mongodb_is_refreshed_as_postgresql(
    shop: Connection,
    database: str,
    mongodb: str,
    mongo: pymongo.database.Database,
    store: str,
    tmp_path: Path,
    publish_to: str,
) -> None:
    fill_shop(shop)
    promote_random_model(store, tmp_path / "model")
    published = PublishedShop(DestinationConfig(database, publish_to, mongodb), store, tmp_path)
    version = published.publish().version
    with open_destinations(published.config) as destinations:
        before = destinations.all[-1].first_games(version, [1, 2, 3, 4], 10)
        published_popular = destinations.all[-1].popular_games(version)
    users = change_everything(shop)
    assert published.refresh().outcome == "refreshed"
    expected, popular = published.predicted(published.predict())
    documents = mongo[f"recommendations_{version}"].find({"_id": {"$in": sorted(users)}})
    found = {(each["_id"], name): rows["game_ids"] for each in documents for name, rows in each["lists"].items()}
    assert found == of_users(expected, users)
    fallback = {
        (each["list"], each["genre"], rank, game)
        for each in mongo[f"popular_{version}"].find()
        for rank, game in enumerate(each["game_ids"], start=1)
    }
    assert fallback == set(popular)
    with open_destinations(published.config) as destinations:
        assert destinations.all[-1].first_games(version, [1, 2, 3, 4, -7], 10) == before
        assert destinations.all[-1].popular_games(version) == published_popular
    assert published.refresh().outcome == "nothing has changed"
    assert published.current.users == mongo[f"recommendations_{version}"].count_documents({})

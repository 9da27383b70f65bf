"""Generated shops."""

from dataclasses import fields

import numpy as np
import pytest

from benchmarks.generated import GAMES_PER_STUDIO, Size, _described, generate_in_order
from steam_recsys.data.games import Games
from steam_recsys.data.interactions import Interactions

SIZE = Size(interactions=20_000, users=1_000, games=20_000)


@pytest.fixture(scope="module")
def shop() -> tuple[Interactions, Games]:
    return generate_in_order(SIZE, 0)


def test_a_shop_in_order_has_the_size_that_was_asked_for(shop: tuple[Interactions, Games]) -> None:
    interactions, games = shop
    assert 0.8 * SIZE.interactions < len(interactions) <= SIZE.interactions
    assert interactions.users.min() >= 1
    assert interactions.users.max() <= SIZE.users
    assert games.ids.tolist() == list(range(1, SIZE.games + 1))
    pairs = interactions.users * SIZE.games + interactions.games
    assert len(np.unique(pairs)) == len(pairs)
    assert (np.diff(interactions.users) >= 0).all()
    assert (np.diff(interactions.days)[np.diff(interactions.users) == 0] >= 0).all()


def test_the_same_seed_gives_the_same_shop(shop: tuple[Interactions, Games]) -> None:
    again, games = generate_in_order(SIZE, 0)
    for field in fields(Interactions):
        assert np.array_equal(getattr(again, field.name), getattr(shop[0], field.name), equal_nan=field.name == "hours")
    assert games.attributes == shop[1].attributes
    assert not np.array_equal(generate_in_order(SIZE, 1)[0].games[:100], again.games[:100])


def test_popularity_has_a_heavy_tail(shop: tuple[Interactions, Games]) -> None:
    counts = np.sort(np.bincount(shop[0].games, minlength=SIZE.games + 1))[::-1]
    assert counts[: SIZE.games // 100].sum() > 0.1 * counts.sum()
    assert (counts <= 2).mean() > 0.5


def test_neighbouring_games_of_a_history_share_their_genre_more_than_distant_ones(
    shop: tuple[Interactions, Games],
) -> None:
    interactions, games = shop
    genres = np.array([next(name for name in each if name.startswith("genre")) for each in games.attributes])

    def share(distance: int) -> float:
        same_user = interactions.users[distance:] == interactions.users[:-distance]
        of = genres[interactions.games - 1]
        return float((of[distance:] == of[:-distance])[same_user].mean())

    assert share(1) > share(10) + 0.1


def test_the_next_game_is_foreseeable_more_often_than_a_later_one(shop: tuple[Interactions, Games]) -> None:
    interactions, _ = shop

    def repeated(distance: int) -> float:
        rows = np.flatnonzero(interactions.users[distance:] == interactions.users[:-distance])
        pairs = interactions.games[rows].astype(np.int64) * (SIZE.games + 1) + interactions.games[rows + distance]
        _, times = np.unique(pairs, return_counts=True)
        return float(times[times > 1].sum() / times.sum())

    assert repeated(1) > 2 * repeated(5)


def test_some_studios_make_games_of_one_taste_and_others_of_any() -> None:
    tastes = np.random.default_rng(0).integers(0, 400, 20_000)
    described = _described(tastes, np.random.default_rng(1)).attributes
    studios = np.array([int(name.split()[-1]) for each in described for name in each if name.startswith("developer")])
    assert (np.bincount(studios) == GAMES_PER_STUDIO).all()
    counts = np.zeros((studios.max() + 1, 400), dtype=np.int64)
    np.add.at(counts, (studios, tastes), 1)
    shares = counts.max(axis=1) / GAMES_PER_STUDIO
    assert 0.3 < shares.mean() < 0.6
    assert np.quantile(shares, 0.9) > 0.75
    assert np.quantile(shares, 0.1) < 0.25

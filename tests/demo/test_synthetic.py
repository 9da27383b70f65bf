import csv
from collections import Counter
from functools import cache

import numpy as np
import pytest

from components.ingest.ingestion import ingest
from components.ingest.raw_files import RAW_FILES, REVIEWS
from demo.synthetic import NONE, REPEATED, Shop, Size, batches, length_shares, write_synthetic

SIZE = Size(reviews=20_000, users=8_600, games=290)
UCSD, KAGGLE = Size(59_161, 25_467, 3_682), Size(1_000_000, 700_000, 290)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    write_synthetic(folder, SIZE)
    return folder


def reviews(folder):
    with (folder / REVIEWS.name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_seed_writes_the_same_bytes(folder, tmp_path):
    write_synthetic(tmp_path / "same", SIZE)
    write_synthetic(tmp_path / "other", SIZE, seed=1)
    for raw in RAW_FILES:
        content = (folder / raw.name).read_bytes()
        assert (tmp_path / "same" / raw.name).read_bytes() == content
        assert (tmp_path / "other" / raw.name).read_bytes() != content


def test_everything_is_labelled_synthetic(folder):
    rows = reviews(folder)
    assert all(row["game_name"].startswith("Synthetic ") for row in rows)
    assert all(row["username"].startswith("synthetic_user_") for row in rows if row["username"])


def test_histories_and_popularity_are_skewed_like_a_real_shops(folder):
    rows = [row for row in reviews(folder) if row["username"]]
    lengths = np.array(list(Counter(row["username"] for row in rows).values()))
    assert 0.5 < (lengths == 1).mean() < 0.8
    assert lengths.max() > 20
    games = np.sort(list(Counter(row["game_name"] for row in rows).values()))[::-1]
    assert games[:29].sum() > 0.3 * games.sum()


@cache
def drawn(size):
    return list(batches(Shop.generate(size, 0), size, 0))


def test_the_numbers_of_reviews_and_users_are_as_requested():
    for size in (SIZE, UCSD, KAGGLE):
        found = drawn(size)
        assert sum(map(len, found)) == pytest.approx(size.reviews, rel=0.02)
        users = np.concatenate([batch.users for batch in found])
        assert len(np.unique(users)) == pytest.approx(size.users, rel=0.01)
        assert users.max() == size.users - 1


def test_history_lengths_match_the_ucsd_set():
    lengths = np.bincount(np.concatenate([batch.users[batch.users != NONE] for batch in drawn(UCSD)]))
    shares = [np.mean((lengths >= least) & (lengths <= most)) for least, most in ((1, 1), (2, 2), (3, 4), (5, 99))]
    assert shares == pytest.approx([0.527, 0.185, 0.157, 0.131], abs=0.03)


@pytest.mark.parametrize(
    ("size", "real"),
    [
        (UCSD, {0.01: 0.41, 0.05: 0.68, 0.1: 0.79, 0.2: 0.88, 0.5: 0.96}),
        (KAGGLE, {0.01: 0.21, 0.05: 0.47, 0.1: 0.63, 0.2: 0.79, 0.5: 0.96}),
    ],
)
def test_the_most_popular_games_have_the_same_share_as_in_real_sets(size, real):
    counts = sum(np.bincount(batch.games, minlength=size.games) for batch in drawn(size))
    curve = np.cumsum(np.sort(counts)[::-1]) / counts.sum()
    shares = [curve[int(size.games * top) - 1] for top in real]
    assert shares == pytest.approx(list(real.values()), abs=0.06)


@pytest.mark.parametrize("mean", [1.43, 2.32, 5.0])
def test_lengths_have_the_requested_mean(mean):
    shares = length_shares(mean)
    assert shares.sum() == pytest.approx(1)
    assert shares @ np.arange(1, len(shares) + 1) == pytest.approx(mean)


@pytest.mark.parametrize("size", [SIZE, Size(reviews=4_000, users=1_250, games=60)])
def test_a_user_reviews_a_game_once_except_for_a_few_repeats(size):
    (batch,) = drawn(size)
    known = batch.users != NONE
    users, games = batch.users[known], batch.games[known]
    n_users, n_pairs = len(np.unique(users)), len(np.unique(users * size.games + games))
    assert (len(users) - n_pairs) / (len(users) - n_users) == pytest.approx(REPEATED, rel=0.3)


def test_files_have_real_quirks_and_every_row_loads(folder, database):
    rows = reviews(folder)
    assert any(not row["date"] for row in rows)
    assert any(not row["username"] for row in rows)
    assert any("," in row["hours_played"] for row in rows)
    assert any(row["date"][:1].isdigit() for row in rows)
    assert any(row["date"][:1].isalpha() for row in rows)
    loaded = ingest(str(folder), database)
    assert (loaded.inserted, loaded.rejected) == (len(rows), {})

import csv
from collections import Counter

import numpy as np
import pytest

from components.ingest.ingestion import ingest
from components.ingest.raw import RAW_FILES, REVIEWS
from demo.synthetic import write_synthetic


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    write_synthetic(folder, reviews=20_000)
    return folder


def reviews(folder):
    with (folder / REVIEWS.name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_equal_seeds_write_equal_bytes_and_another_seed_others(folder, tmp_path):
    write_synthetic(tmp_path / "same", reviews=20_000)
    write_synthetic(tmp_path / "other", reviews=20_000, seed=1)
    for raw in RAW_FILES:
        content = (folder / raw.name).read_bytes()
        assert (tmp_path / "same" / raw.name).read_bytes() == content
        assert (tmp_path / "other" / raw.name).read_bytes() != content


def test_everything_is_labelled_synthetic(folder):
    rows = reviews(folder)
    assert all(row["game_name"].startswith("Synthetic ") for row in rows)
    assert all(row["username"].startswith("synthetic_user_") for row in rows if row["username"])


def test_histories_and_popularity_are_as_skewed_as_in_a_real_shop(folder):
    rows = [row for row in reviews(folder) if row["username"]]
    lengths = np.array(list(Counter(row["username"] for row in rows).values()))
    assert 0.5 < (lengths == 1).mean() < 0.8
    assert lengths.max() > 20
    games = np.sort(list(Counter(row["game_name"] for row in rows).values()))[::-1]
    assert games[:29].sum() > 0.3 * games.sum()


def test_it_has_the_quirks_of_real_files_and_all_of_it_loads(folder, database):
    rows = reviews(folder)
    assert any(not row["date"] for row in rows)
    assert any(not row["username"] for row in rows)
    assert any("," in row["hours_played"] for row in rows)
    assert any(row["date"][:1].isdigit() for row in rows)
    assert any(row["date"][:1].isalpha() for row in rows)
    loaded = ingest(str(folder), database)
    assert (loaded.inserted, loaded.rejected) == (len(rows), {})

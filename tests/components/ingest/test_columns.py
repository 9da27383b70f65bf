import csv
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ingest.columns import RAW_LAYOUT, ColumnMapping, find_columns, parse_columns
from components.ingest.ingestion import ingest
from components.ingest.raw_files import RANKINGS, REVIEWS
from steam_recsys.errors import UserError

DATA_PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text()

REVIEWS_2021 = {
    "": "0", "app_id": "292030", "app_name": "The Witcher 3: Wild Hunt", "review_id": "85185598", "language": "english",
    "review": "good", "timestamp_created": "1611381629", "timestamp_updated": "1611381629", "recommended": "True",
    "votes_helpful": "2", "votes_funny": "1", "weighted_vote_score": "0.0", "comment_count": "0",
    "steam_purchase": "True", "received_for_free": "False", "written_during_early_access": "False",
    "author.steamid": "76561199095369542", "author.num_games_owned": "6", "author.num_reviews": "2",
    "author.playtime_forever": "1909.0", "author.playtime_last_two_weeks": "1448.0",
    "author.playtime_at_review": "1909.0", "author.last_played": "1611343383.0",
}  # fmt: skip
REVIEWS_100_MILLION = {
    "recommendationid": "148919164", "appid": "292030", "game": "The Witcher 3: Wild Hunt",
    "author_steamid": "76561199095369542", "author_num_games_owned": "6", "author_num_reviews": "2",
    "author_playtime_forever": "1909", "author_playtime_last_two_weeks": "0", "author_playtime_at_review": "1909",
    "author_last_played": "1611343383", "language": "english", "review": "good", "timestamp_created": "1611381629",
    "timestamp_updated": "1611381629", "voted_up": "1", "votes_up": "2", "votes_funny": "1",
    "weighted_vote_score": "0", "comment_count": "0", "steam_purchase": "1", "received_for_free": "0",
    "written_during_early_access": "0", "hidden_in_steam_china": "1", "steam_china_location": "",
}  # fmt: skip


@pytest.mark.parametrize(("name", "row"), [("steam_reviews", REVIEWS_2021), ("all_reviews", REVIEWS_100_MILLION)])
def test_the_mappings_of_the_page_load_the_public_layouts(name, row, tmp_path, database, connection):
    path = tmp_path / f"{name}.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([row.keys(), row.values()])
    (columns,) = re.findall(rf"recsys ingest --raw {name}\.csv --columns (\S+)", DATA_PAGE)
    assert ingest(str(path), database, columns=columns).rejected == {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT username, name, recommended, hours_played, helpful, funny, reviewed_on::text, review "
            "FROM steam.reviews JOIN steam.users USING (user_id) JOIN steam.games USING (game_id)"
        )
        assert cursor.fetchall() == [
            ("76561199095369542", "The Witcher 3: Wild Hunt", True, pytest.approx(31.8167), 2, 1, "2021-01-23", "good")
        ]


def test_a_column_without_a_name_is_blank():
    pick = find_columns("f", REVIEWS, ["game_name", "voted"], parse_columns(
        "recommendation=voted,review=,hours_played=,helpful=,funny=,date=,username="))  # fmt: skip
    assert pick(["Portal", "1"]) == ("", "", "", "", "1", "", "Portal", "")


def test_a_divisor_follows_the_last_slash():
    assert parse_columns("hours_played=time/played/60, date=a/2") == ColumnMapping(
        {"hours_played": "time/played", "date": "a/2"}, 60
    )
    assert parse_columns("") == RAW_LAYOUT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date", "--columns has 'date': write each part as date=timestamp_created"),
        ("dates=x", r"--columns sets dates \(is it date\?\): it can set review, hours_played"),
        ("xyz=x", "--columns sets xyz: it can set review"),
        ("date=a,date=b", "--columns sets date twice"),
        ("hours_played=a/0", "divides hours_played by 0"),
    ],
)
def test_an_invalid_mapping_is_reported(text, message):
    with pytest.raises(UserError, match=message):
        parse_columns(text)


def test_a_missing_column_is_reported_with_the_header_and_similar_names():
    header = ["review", "hours", "helpful", "funny", "Recommended", "date", "app_name", "by"]
    with pytest.raises(UserError) as error:
        find_columns("raw/f.csv", REVIEWS, header, RAW_LAYOUT)
    assert str(error.value) == (
        "raw/f.csv lacks the column hours_played, recommendation, game_name, username: its header is "
        "review,hours,helpful,funny,Recommended,date,app_name,by, the layout's is "
        "review,hours_played,helpful,funny,recommendation,date,game_name,username, 'hours' is similar to hours_played, "
        "'Recommended' is similar to recommendation, 'app_name' is similar to game_name; correct the header, or name "
        "the file's own columns, as in --columns hours_played=hours,recommendation=Recommended,game_name=app_name."
    )


def test_a_name_that_the_mapping_gets_wrong_is_reported_with_a_similar_one():
    header = [column if column != "date" else "timestamp_created" for column in REVIEWS.columns]
    with pytest.raises(
        UserError, match=r"'timestamp_created' is similar to timestamp_crated; .*date=timestamp_created"
    ):
        find_columns("f", REVIEWS, header, parse_columns("date=timestamp_crated"))


def test_a_mapping_concerns_reviews_only():
    with pytest.raises(UserError, match="lacks the column game_name") as error:
        find_columns("f", RANKINGS, ["game", "genre", "rank_type", "rank"], parse_columns("game_name=game"))
    assert "--columns" not in str(error.value)


def test_a_long_header_is_shown_in_part():
    with pytest.raises(UserError, match="x,x,x,…,") as error:
        find_columns("f", REVIEWS, ["x"] * 100_000, RAW_LAYOUT)
    assert len(str(error.value)) < 2_000


@given(st.text() | st.text("dateviwun_plyhros=,/ 0.61", max_size=40))
def test_any_mapping_is_read_or_reported(text):
    try:
        mapping = parse_columns(text)
    except UserError:
        return
    assert set(mapping.sources) <= set(REVIEWS.columns)
    assert mapping.hours_divisor > 0


@given(st.lists(st.text() | st.sampled_from(REVIEWS.columns), max_size=12))
def test_any_header_is_read_or_reported(header):
    try:
        pick = find_columns("f", REVIEWS, header, RAW_LAYOUT)
    except UserError:
        return
    assert [name.strip() for name in pick(header)] == list(REVIEWS.columns)

import pytest

from commands.__main__ import main


def test_reviews_in_another_layout_are_loaded_from_one_file(tmp_path, database, shop, capsys):
    path = tmp_path / "mine.csv"
    path.write_text("app,user,liked,minutes\nPortal,ann,TRUE,90\nPortal,bob,FALSE,\n")
    columns = (
        "game_name=app,username=user,recommendation=liked,hours_played=minutes/60,review=,helpful=,funny=,date=",
    )
    main(["ingest", "--raw", str(path), "--columns", *columns])
    assert "steam_game_reviews.csv: 2 rows read, 0 rejected" in capsys.readouterr().out
    with shop.cursor() as cursor:
        cursor.execute("SELECT username, recommended, hours_played FROM steam.reviews JOIN steam.users USING (user_id)")
        assert cursor.fetchall() == [("ann", True, 1.5), ("bob", False, None)]


def test_a_mapping_that_does_not_fit_is_one_sentence(tmp_path, database):
    path = tmp_path / "mine.csv"
    path.write_text("app,user\nPortal,ann\n")
    with pytest.raises(SystemExit, match=r"recsys: .*mine.csv lacks the column review, .*: its header is app,user,"):
        main(["ingest", "--raw", str(path), "--columns", "game_name=app"])

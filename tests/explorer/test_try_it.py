"""The page where a history is built, without JavaScript: links and forms that carry it along."""

from pathlib import Path

import httpx

from tests.explorer.conftest import Explored, serving
from tests.explorer.shown import page


def test_a_history_is_built_by_links_alone(client: httpx.Client) -> None:
    search = page(client, "/try", games="3", q="game 7")
    added = next(link["href"] for link in search.all("a", data_add="7"))
    assert added == "/try?games=3,7&q=game+7"
    shown = page(client, added)
    assert [row["data-game"] for row in shown.all("li") if row.get("data-game")] == ["3", "7"]
    answer = client.post("/api/recommend", json={"history": [3, 7]}).json()["games"]
    assert [link for link in shown.links("/games/") if link not in ("/games/", "/games/3", "/games/7")][-10:] == [
        f"/games/{game['game_id']}" for game in answer
    ]
    assert shown.all("a", data_add="7")[0]["aria-disabled"] == "true"
    removed = next(link["href"] for link in shown.all("a", data_remove="3"))
    assert removed == "/try?games=7&q=game+7"


def test_searching_and_filtering_keep_the_history(client: httpx.Client) -> None:
    shown = page(client, "/try", games="3,7", genre="Indie", q="game 8")
    assert [each["value"] for each in shown.all("input", name="games")] == ["3,7", "3,7"]
    assert {"type": "hidden", "name": "genre", "value": "Indie"} in shown.all("input", name="genre")
    assert {"type": "hidden", "name": "q", "value": "game 8"} in shown.all("input", name="q")
    kept = [link["href"] for link in shown.all("a") if "data-kept" in link]
    assert kept
    assert all("games=3,7" in href and "q=game+8" in href for href in kept)


def test_a_search_that_finds_more_than_it_shows_leads_to_all(client: httpx.Client) -> None:
    shown = page(client, "/try", q="game 1")  # 1 and 10 to 19
    assert "The first 6: all that have this in their name" in shown.text
    assert shown.links("/games?") == ["/games?q=game+1"]
    assert "hidden" not in next(each for each in shown.all("p") if "data-more" in each)
    assert len(page(client, "/games", q="game 1").links("/games/")) == 11
    few = page(client, "/try", q="game 17")
    assert few.links("/games?") == []
    assert "hidden" in next(each for each in few.all("p") if "data-more" in each)


def test_games_of_an_address_that_there_are_not_are_left_out_and_said(client: httpx.Client) -> None:
    shown = page(client, "/try", games="3,999999,3")
    assert [row["data-game"] for row in shown.all("li") if row.get("data-game")] == ["3"]
    assert "1 of the address's games is not in the shop" in shown.text


def test_while_the_model_is_being_read_pages_say_so_and_offer_another_try(explored: Explored, tmp_path: Path) -> None:
    with serving(explored.settings(store=str(tmp_path))) as served:  # it never will be
        for path in ("/try?games=3", "/games/7"):
            shown = page(served.client, path)
            assert "The model of the current publication is still being read: try again in a moment." in shown.text
            assert path in shown.links(path)
        assert [each for each in page(served.client, "/try").all("div") if "data-loading" in each]


def test_without_a_model_store_the_sentence_of_the_api_is_shown(explored: Explored) -> None:
    with serving(explored.settings(store=None)) as served:
        shown = page(served.client, "/try", games="3")
        assert "There is no model store here: set EXPLORER_STORE." in shown.text
        assert "data-loading" not in {name for _, each in shown.elements for name in each}
        assert "There is no model store here" in page(served.client, "/games/7").text

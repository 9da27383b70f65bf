"""Genres that say something about taste."""

from explorer.tastes import MOST_PERSONAS, PERSONA_GAMES, TELLING, GenreTags, choose_personas, likes, telling


def test_telling_genres_come_first_and_the_others_keep_their_order() -> None:
    assert telling(["Singleplayer", "Action", "2D", "horror"]) == ["horror", "Action", "Singleplayer", "2D"]


def test_genres_are_named_in_order_and_shared_ones_by_size() -> None:
    sizes = {3: ("Action", 90), 1: ("Horror", 5), 4: ("Indie", None), 2: ("RPG", 5)}  # in the order of the names
    tags = GenreTags.from_rows(
        [{"genre_id": genre, "name": name, "games": games} for genre, (name, games) in sizes.items()]
    )
    assert tags.in_order([2, 4, 1]) == ["Horror", "Indie", "RPG"]
    assert tags.shared([3, 4, 2, 1], [1, 2, 3, 4]) == ["Horror", "RPG"]
    assert tags.shared([3, 4], [1, 4, 3]) == ["Action", "Indie"]
    assert tags.shared([3], [1]) == tags.in_order([9]) == []


def test_likes_are_what_liked_games_have_more_often_than_the_catalogue() -> None:
    sizes = {"Action": 900, "Horror": 50, "RPG": 100, "Ranked only": None}
    liked = [["Action", "Horror"], ["Action", "Horror"], ["Action", "RPG"], ["Ranked only"]]
    assert likes(liked, sizes, 1000) == [("Horror", 2), ("RPG", 1), ("Action", 3), ("Ranked only", 1)]
    assert likes([], sizes, 1000) == []


def test_a_genre_of_one_game_counts_once_per_game() -> None:
    assert likes([["Horror", "Horror"]], {}, 1) == [("Horror", 1)]


def test_no_two_personas_like_the_same_game() -> None:
    popular = {"Singleplayer": range(1, 13), "Action": range(1, 13), "Horror": [1, 2, 3], "Strategy": [2, 4, 6, 8, 10]}
    genres = {game_id: [genre for genre, games in popular.items() if game_id in games] for game_id in range(1, 13)}
    personas = choose_personas(popular, genres)
    liked = [game_id for _, games in personas for game_id in games]
    assert [genre for genre, _ in personas] == ["Strategy", "Action", "Singleplayer"]
    assert len(liked) == len(set(liked)) == 3 * PERSONA_GAMES


def test_a_fan_likes_typical_games_of_a_genre_and_of_these_the_most_popular() -> None:
    shooters = {game_id: ["FPS", "Shooter", "Strategy"] for game_id in (1, 2)} | {3: ["FPS", "Shooter"]}
    others = {game_id: ["RTS", "Strategy"] for game_id in range(4, 10)}
    personas = choose_personas({"Strategy": [1, 2, 4, 5, 6, 7, 8, 9]}, shooters | others)
    assert personas == [("Strategy", [4, 5, 6, 7])]


def test_there_are_at_most_some_personas_each_with_its_games() -> None:
    popular = {genre: list(range(100 * place, 100 * place + 20)) for place, genre in enumerate(TELLING)}
    genres = {game_id: [genre] for genre, games in popular.items() for game_id in games}
    personas = choose_personas(popular, genres)
    assert [genre for genre, _ in personas] == list(TELLING[:MOST_PERSONAS])
    assert all(len(games) == PERSONA_GAMES for _, games in personas)
    assert choose_personas({}, {}) == choose_personas({"Horror": []}, {}) == []

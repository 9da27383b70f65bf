"""Clients in Python and TypeScript that are generated from the OpenAPI description: code that uses them type-checks."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.explorer.conftest import RunningExplorer

pytestmark = pytest.mark.slow

GENERATOR = "openapi-python-client==0.29.1"
PACKAGES = ["openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3"]

SHOP_PY = """\
import sys

from client import Client
from client.api.api import find_games, get_recommendations, get_shelves, list_genres, recommend
from client.models import GameCard, History, HistoryGame, LiveRecommendations, ProblemDetails, Recommendations, Shelves
from client.models import GameList, GenreList


def caption(game: GameCard) -> str:
    year = "" if game.released_on is None else f" ({game.released_on.year})"
    match = "" if game.match is None else f", {game.match + 0} %"
    because = "" if game.because is None else f" like {game.because.name}: {', '.join(game.because.shared)}"
    return f"{game.rank}. {game.name}{year}{match}{because}"


shop = Client(base_url=sys.argv[1])
answer = get_recommendations.sync(1, client=shop, limit=3, exclude_ids="1,2")
assert isinstance(answer, Recommendations), answer
print([caption(game) for game in answer.games], answer.version, answer.next_)
assert answer.next_ is not None
following = get_recommendations.sync(1, client=shop, limit=3, exclude_ids="1,2", cursor=answer.next_)
assert isinstance(following, Recommendations) and following.games[0].rank == 4
page = get_shelves.sync(1, client=shop)
assert isinstance(page, Shelves)
print([(shelf.title, [caption(game) for game in shelf.games]) for shelf in page.shelves])
live = recommend.sync(client=shop, body=History(history=[1, HistoryGame(game_id=5, hours=2.5)], include=["Indie"]))
assert isinstance(live, LiveRecommendations), live
found = find_games.sync(client=shop, q="game")
assert isinstance(found, GameList) and found.games
genres = list_genres.sync(client=shop)
assert isinstance(genres, GenreList) and genres.genres
problem = find_games.sync(client=shop, cursor="AAAA")
assert isinstance(problem, ProblemDetails) and problem.code == "invalid_cursor"
"""

SHOP_TS = """\
import createClient from "openapi-fetch";
import type { components, paths } from "./api";

type GameCard = components["schemas"]["GameCard"];

function caption(game: GameCard): string {
  const year = game.released_on === null ? "" : ` (${game.released_on.slice(0, 4)})`;
  const match = game.match === null ? "" : `, ${game.match.toFixed()} %`;
  return `${game.rank}. ${game.name}${year}${match} ${game.because?.shared.join(", ") ?? game.kind}`;
}

export async function show(site: string): Promise<string[]> {
  const shop = createClient<paths>({ baseUrl: site });
  const { data, error } = await shop.GET("/api/v1/users/{user_id}/recommendations", {
    params: { path: { user_id: 1 }, query: { limit: 3, rank_by: "newest" } },
  });
  if (error) return [error.code, error.detail];
  const cursor: string | null = data.next;
  const live = await shop.POST("/api/v1/recommend", {
    body: { history: [1, { game_id: 5, recommended: true }], popularity: 0.5, cursor: cursor ?? "" },
  });
  const page = await shop.GET("/api/v1/users/{user_id}/shelves", { params: { path: { user_id: 1 } } });
  const shelves = page.data?.shelves.flatMap((shelf) => [shelf.title, ...shelf.games.map(caption)]) ?? [];
  const similar = await shop.GET("/api/v1/games/{game_id}/similar", { params: { path: { game_id: 620 } } });
  return [...data.games, ...(live.data?.games ?? []), ...(similar.data?.games ?? [])].map(caption).concat(shelves);
}
"""


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def install(*command: str, folder: Path) -> None:
    """Fetch a generator from its registry; skip the test if that is impossible here."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{Path(command[0]).name} is not installed.")
    done = run(*command, folder=folder)
    if done.returncode:
        pytest.skip(f"The generator cannot be fetched: {done.stderr.strip()[-300:]}")


@pytest.fixture
def description(served: RunningExplorer, tmp_path: Path) -> Path:
    """The file of the API's description."""
    path = tmp_path / "openapi.json"
    path.write_bytes(served.client.get("/api/openapi.json").content)
    return path


def test_a_generated_python_client_type_checks_and_works(served: RunningExplorer, description: Path) -> None:
    folder = description.parent
    uvx = str(Path(sys.executable).parent / "uvx")
    generate = (uvx, "--from", GENERATOR, "openapi-python-client")
    install(*generate, "--version", folder=folder)
    (folder / "config.yaml").write_text("content_type_overrides: {application/problem+json: application/json}\n")
    done = run(
        *generate, "generate", "--path", str(description), "--config", "config.yaml", "--meta", "none",
        "--output-path", "client", "--fail-on-warning", folder=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "shop.py").write_text(SHOP_PY)
    (folder / "wrong.py").write_text(
        "from client.models import GameCard\n\ndef f(game: GameCard) -> float:\n    return game.score\n"
    )
    check = (sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent")
    checked = run(*check, "shop.py", folder=folder)
    assert checked.returncode == 0, checked.stdout
    assert '"GameCard" has no attribute "score"' in run(*check, "wrong.py", folder=folder).stdout
    used = run(sys.executable, "shop.py", str(served.client.base_url), folder=folder)
    assert used.returncode == 0, used.stderr


def test_generated_types_for_typescript_check(description: Path) -> None:
    folder = description.parent
    install("npm", "install", "--prefix", ".", "--no-audit", "--no-fund", *PACKAGES, folder=folder)
    done = run(
        "npx", "openapi-typescript", "openapi.json", "--default-non-nullable", "false", "-o", "api.d.ts", folder=folder
    )
    assert done.returncode == 0, done.stderr
    (folder / "shop.ts").write_text(SHOP_TS)
    (folder / "wrong.ts").write_text(SHOP_TS.replace("game.name", "game.game"))
    check = ("npx", "tsc", "--noEmit", "--strict", "--target", "es2022", "--moduleResolution", "bundler",
             "--module", "esnext")  # fmt: skip
    checked = run(*check, "shop.ts", folder=folder)
    assert checked.returncode == 0, checked.stdout
    assert "Property 'game' does not exist" in run(*check, "wrong.ts", folder=folder).stdout

"""The commands of README and of the pages in `docs/` that continue it, in order, in a fresh copy of the project that
shares only the installed environment.
"""

import csv
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import httpx
import psycopg2
import pytest

from components.ingest.ingestion import ingest
from demo.synthetic import Size, write_synthetic

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/data.md", "docs/pipelines.md", "docs/model.md", "docs/containers.md")
README, DATA, *_ = TEXTS = [(ROOT / page).read_text() for page in PAGES]
OUTPUT = re.search(r"```text\n(.*?)```", README, re.DOTALL)[1]
BLOCKS = [block for text in TEXTS for block in re.findall(r"```(sh|python)\n(.*?)```", text, re.DOTALL)]
RAW_FILES = re.findall(r"\n### `(\w+\.csv)`\n(.*?)```csv\n(.*?)```", DATA, re.DOTALL)
MAX_LINES = 60
"""Lines that a demo prints at most."""

OWN_DATABASE = "postgresql://user:password@host:5432/shop"


@pytest.fixture(scope="module")
def copy():
    """A copy of the files that git tracks or would add, with the installed environment."""
    # Not in pytest's own folder: another session may close that to the database's system user.
    with tempfile.TemporaryDirectory(prefix="steam-recsys-readme-") as root:
        folder = Path(root).resolve() / "my python3 shop"  # a path that is not easy on shells
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        write_synthetic(folder / "my-shop", Size(4_000, 1_250, 60), seed=1)
        yield folder
        subprocess.run(["make", "stop"], cwd=folder, check=True)


def reader_environment() -> dict[str, str]:
    """Read the environment without what the make that runs this test has added, such as its level of recursion."""
    inherited = ("DATABASE_URL", "MAKEFLAGS", "MAKELEVEL")
    return {key: value for key, value in os.environ.items() if key not in inherited}


def run(copy: Path, block: str) -> str:
    command = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(
        command, cwd=copy, env=reader_environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{block}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def assert_loop_is_whole(copy: Path) -> None:
    """Check that the summary agrees with the database, and that every known user has recommendations."""
    summary = json.loads((copy / "local" / "summary.json").read_text())
    assert list(summary) == ["data", "gate", "model", "publication", "monitoring", "seconds", "peak_memory_mb"]
    assert summary["data"]["folder"] in (str(copy / "local" / "synthetic"), str(copy / "my-shop"))
    assert summary["gate"] == {"model": summary["model"]["version"], "passed": True, "failed": []}
    assert set(summary["model"]) == {
        "version", "cutoff", "recall_at_20", "ndcg_at_10", "baselines", "beside_best_baseline",
    }  # fmt: skip
    assert summary["model"]["ndcg_at_10"] >= summary["model"]["baselines"]["popularity"]["ndcg_at_10"]
    stages = {"ingest", "extract", "validate", "train", "evaluate", "plan", "predict", "reverse_etl"}
    assert stages <= set(summary["seconds"])
    assert stages <= set(summary["peak_memory_mb"])
    connection = psycopg2.connect((copy / "local" / "database-url").read_text().strip())
    with connection, connection.cursor() as cursor:
        for query, expected in (
            ("SELECT count(*) FROM steam.reviews", summary["data"]["reviews"]),
            ("SELECT count(*) FROM recsys.recommendations WHERE list = 'relevance'", summary["publication"]["users"]),
            ("SELECT count(*) FROM steam.users LEFT JOIN recsys.recommendations USING (user_id) "
             "WHERE game_ids IS NULL", 0),
            ("SELECT count(*) FROM recsys.recommendations JOIN steam.reviews USING (user_id) "
             "WHERE game_id = ANY (game_ids)", 0),
            ("SELECT count(*) FROM recsys.pipeline_runs WHERE state <> 'SUCCEEDED'", 0),
        ):  # fmt: skip
            cursor.execute(query)
            assert cursor.fetchone() == (expected,), query
    connection.close()


def publications(copy: Path) -> int:
    """Count the versions that the last demo's database keeps."""
    connection = psycopg2.connect((copy / "local" / "database-url").read_text().strip())
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM recsys.publications")
        ((count,),) = cursor.fetchall()
    connection.close()
    return count


def look_at_it(copy: Path) -> None:
    """Start the explorer, send a request to the address that it prints, and stop it with SIGINT."""
    process = subprocess.Popen(
        ["make", "explore"],
        cwd=copy,
        env={**reader_environment(), "EXPLORER_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed = iter(process.stdout)
        url = next(line for line in printed if line.startswith("explorer: ")).removeprefix("explorer: ").strip()
        answer = httpx.get(f"{url}/api/v1/users/1/recommendations", timeout=300)
        assert answer.status_code == 200
        assert len(answer.json()["games"]) == 10
        assert httpx.get(f"{url}/api", timeout=300).status_code == 200
    finally:
        os.killpg(process.pid, signal.SIGINT)
        rest = "".join(printed)
        process.wait(300)
    assert "Traceback" not in rest, rest
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/healthz")


def assert_an_unknown_user_or_order_is_reported_in_one_sentence(copy: Path) -> None:
    """Check that `make user` after a demo reports errors without a traceback."""
    for arguments, sentence in (
        (["USER=unknown"], "recsys: There is no user unknown: give a name or an id from the table steam.users.\n"),
        (
            ["USER=1", "RANK_BY=fame"],
            "recsys: p_rank_by is 'fame': it must be relevance, sales, revenue, reviews, newest, discovery or "
            "new_releases.\n",
        ),
    ):
        done = subprocess.run(["make", "-s", "user", *arguments], cwd=copy, capture_output=True, text=True)
        assert done.returncode != 0
        assert done.stderr.startswith(sentence)
        assert "Traceback" not in done.stderr


def sentences(text: str) -> set[str]:
    """Return the lines of a demo's output without its recommendations, and without numbers, versions and alignment."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    kept = (line for line in lines if not re.match(r"user \d|a new user|Hidden gems|New releases|…$", line))
    return {re.sub(r"\d{8}-[0-9a-f]{8}|[+-]?\d[\d.,]*\d|\d", "#", line) for line in kept}


def write_examples(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, _, rows in RAW_FILES:
        (folder / name).write_text(rows)


def test_the_example_rows_of_the_page_load_with_all_their_values(tmp_path, database, connection):
    write_examples(tmp_path)
    loaded = ingest(str(tmp_path), database)
    assert (sorted(loaded.rows.items()), loaded.rejected) == ([(name, 1) for name in sorted(loaded.rows)], {})
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT username, recommended, hours_played, reviewed_on::text, helpful, name, released_on::text, "
            "positive_share_of, english_reviews, ram_gb, storage_gb, genre, rank "
            "FROM steam.reviews JOIN steam.users USING (user_id) "
            "JOIN steam.games USING (game_id) JOIN steam.game_requirements USING (game_id) "
            "JOIN steam.rankings USING (game_id)"
        )
        assert cursor.fetchall() == [
            ("ann", True, 1204.5, "2011-11-05", 12, "Amber Labyrinth", "2011-11-05", 12345, 6789, 8, 20, "Puzzle", 1)
        ]
        cursor.execute("SELECT array_agg(name ORDER BY name) FROM steam.genres")
        assert cursor.fetchone() == (["Indie", "Puzzle"],)


def columns(table: str, required: str) -> set[str]:
    """The columns of a raw file whose cell under `required` matches."""
    rows = re.findall(r"^\| (`[^|]*`) \| *(\w*) *\|", table, re.MULTILINE)
    return {name for names, cell in rows if re.fullmatch(required, cell) for name in re.findall(r"`(\w+)`", names)}


def test_the_required_columns_are_those_of_the_page(tmp_path, database):
    assert len(RAW_FILES) == 3
    for name, about, rows in RAW_FILES:
        header, row = csv.reader(rows.splitlines())
        assert columns(about, "yes|") == set(header)
        refused = set()
        for column in header:
            write_examples(tmp_path)
            with (tmp_path / name).open("w", newline="") as file:
                csv.writer(file).writerows(
                    [header, ["" if each == column else text for each, text in zip(header, row, strict=True)]]
                )
            if ingest(str(tmp_path), database, max_rejected_share=1).rejected:
                refused.add(column)
        assert refused == columns(about, "yes")


@pytest.mark.slow
def test_every_command_of_readme_and_docs_works_in_order(copy, postgres):
    url = postgres.ensure_database(f"shop_{secrets.token_hex(4)}")
    for language, block in BLOCKS:
        if language == "python":
            assert re.fullmatch(
                r"(\d+ -?\d+\.\d+ -?\d+\.\d+ (12|7|None)\n){5}", run(copy, f".venv/bin/python - <<'END'\n{block}END")
            )
            continue
        if block in ("make test\n", "make images\nmake demo-docker\n"):
            continue  # the one is what runs this, the other needs a container engine: .ci/run runs both
        if block == "make explore\n":
            look_at_it(copy)
            continue
        printed = run(copy, block.replace(OWN_DATABASE, url))
        if "make demo" in block:
            assert_loop_is_whole(copy)
            assert ("SYNTHETIC DATA" in printed) == (block == "make demo\n")
            assert re.search(
                r"\nModel \S+ passed the gate\.\nBy NDCG@10 the model is (better than|level with) the best", printed
            )
            assert "\na new user " in printed
            assert printed.count("\n") <= MAX_LINES
            if block == "make demo\n":
                assert "\nNight 2: " in printed
                assert publications(copy) == 2
                assert "\nSince the last publications, " in printed
                assert sentences(OUTPUT) <= sentences(printed)
            for page, title in (
                ("local/evaluation.html", " passes the gate</title>"),
                ("local/monitoring.html", "</title>"),
            ):
                assert f"\n  {page} " in printed
                assert title in (copy / page).read_text()
    assert_an_unknown_user_or_order_is_reported_in_one_sentence(copy)


@pytest.mark.slow
def test_a_missing_data_folder_is_reported_before_anything_runs(copy):
    done = subprocess.run(["make", "-s", "demo", "DATA=nowhere"], cwd=copy, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.startswith("demo: The folder nowhere does not exist")

"""The wheel and the source distribution."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USED = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "import components, pipelines; "
    "from importlib.resources import files; "
    "from steam_recsys.database.connection import snapshot_queries; "
    "from steam_recsys.reporting.pages import ENVIRONMENT; import commands.__main__; "
    "from components.ingest import ingestion; from pipelines.target import Target; "
    "assert components.__file__.startswith(sys.argv[1]), components.__file__; "
    "assert files('steam_recsys.database').joinpath('sql/steam.sql').read_text(); "
    "assert ingestion.merge_statements(); assert snapshot_queries(); "
    "assert ENVIRONMENT.get_template('evaluation.html'); "
    "print(Target.load('vertex').schedules['training'])"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both distributions, built from a copy of the files that git tracks or would add."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return output


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_a_distribution_includes_the_files_read_at_run_time(kind: str, built: Path, tmp_path: Path) -> None:
    (distribution,) = built.glob(kind)
    uv = Path(sys.executable).parent / "uv"
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, "--target", str(tmp_path), str(distribution)], check=True)
    used = subprocess.run([sys.executable, "-I", "-c", USED, str(tmp_path)], capture_output=True, text=True)
    assert used.returncode == 0, used.stderr
    assert used.stdout == "0 3 * * 1\n"

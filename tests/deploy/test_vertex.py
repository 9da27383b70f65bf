"""The infrastructure on Google Cloud and the two CI definitions, checked without a cloud."""

import re
import shutil
import subprocess
from pathlib import Path

import hcl2
import psycopg2
import pytest
import yaml

import compile as command
from containers.pins import FILES as FILES_WITH_IMAGES
from demo.postgres import EmbeddedPostgres
from pipelines.check import check_parameters
from pipelines.target import ENVIRONMENT, Target
from steam_recsys.database.connection import create_schema, replace_functions
from tests.containers.test_pins import unpinned

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "vertex"
FILES = {path.name: path.read_text() for path in sorted(DEPLOY.glob("*.tf"))}
TEXT = "\n".join(FILES.values())
PAGE = (ROOT / "docs" / "vertex.md").read_text()
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yaml").read_text()
CLOUD_BUILD = (ROOT / "cloudbuild.yaml").read_text()


def blocks(kind: str) -> list[dict]:
    return [block for text in FILES.values() for block in hcl2.loads(text).get(kind, [])]


def names(kind: str) -> set[str]:
    return {name.strip('"') for block in blocks(kind) for name in block}


def addresses(kind: str) -> set[str]:
    """Return the addresses of a kind's blocks, TYPE.NAME."""
    return {
        f"{block_type}.{name}".replace('"', "")
        for block in blocks(kind)
        for block_type, named in block.items()
        for name in named
    }


@pytest.mark.skipif(shutil.which("terraform") is None, reason="there is no terraform on the PATH")
def test_terraform_files_are_formatted() -> None:
    done = subprocess.run(["terraform", "fmt", "-check", str(DEPLOY)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_reference_is_defined() -> None:
    code = re.sub(r"#.*", "", TEXT)
    resources = addresses("resource")
    used = set(re.findall(r"(?<![\w.\"])((?:google|random)_\w+\.\w+)", code))
    assert used
    assert used <= resources
    assert set(re.findall(r"data\.(\w+\.\w+)", code)) == addresses("data")
    assert set(re.findall(r"ephemeral\.(\w+\.\w+)", code)) == addresses("ephemeral")
    assert set(re.findall(r"\bvar\.(\w+)", code)) == names("variable")
    assert set(re.findall(r"\blocal\.(\w+)", code)) == {
        key for block in blocks("locals") for key in block if not key.startswith("__")
    }


def test_every_variable_and_output_has_a_description_and_every_variable_is_on_the_page() -> None:
    for block in blocks("variable"):
        for name, variable in block.items():
            assert variable["type"], name
            assert variable["description"].strip('"').endswith("."), name
            assert f"`{name.strip(chr(34))}`" in PAGE, name
    for block in blocks("output"):
        assert all(output["description"] for output in block.values())


def test_every_role_is_narrow_and_explained() -> None:
    lines = [line for line in FILES["accounts.tf"].splitlines() if '"roles/' in line]
    lines += [line for text in FILES.values() for line in text.splitlines() if re.match(r"\s+role\s+=", line)]
    roles = [line for line in lines if "each.value" not in line]
    assert len(roles) > 10
    for line in roles:
        assert re.search(r" # \w.{10,}", line), line
    assert not re.search(r"roles/(owner|editor|viewer|.*[aA]dmin)\"", TEXT)


def test_there_are_no_keys_and_no_passwords_in_the_state() -> None:
    assert not re.search(r"google_service_account_key|\bsecret_data\s*=|\bpassword\s*=", TEXT)
    assert 'public_access_prevention    = "enforced"' in TEXT
    assert re.search(r"ipv4_enabled\s*= false", TEXT)


def test_terraforms_settings_are_valid_target_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = re.findall(rf"({ENVIRONMENT}\w+)\s*=", FILES["outputs.tf"])
    assert len(variables) > 8
    examples = {"SOURCE": "sm://projects/p/secrets/s/versions/latest", "STAGING_BUCKET": "gs://bucket"}
    for name in variables:
        key = name.rpartition("__")[2]
        monkeypatch.setenv(name, examples.get(key, "value"))
    target = Target.load("vertex")
    check_parameters(target)
    assert target.vertex.network_attachment == target.vertex.project == target.registry == "value"


def test_only_protected_tags_of_the_repository_of_this_number_get_a_token() -> None:
    (condition,) = re.findall(r"attribute_condition = join\(\" && \", \[\n(.*?)\n  \]\)", FILES["github.tf"], re.DOTALL)
    assert [line.strip(' ,"') for line in condition.splitlines()] == [
        "assertion.repository_id == '${var.github_repository_id}'",
        "assertion.repository_owner_id == '${var.github_owner_id}'",
        "assertion.ref_type == 'tag'",
        "assertion.ref.startsWith('refs/tags/v')",
        "assertion.ref_protected == 'true'",
        "assertion.environment == 'deployment'",
    ]
    assert "/attribute.repository_id/${var.github_repository_id}" in FILES["github.tf"]
    assert not re.search(r"assertion\.(repository|repository_owner|actor)\b", FILES["github.tf"])


def test_the_pipelines_user_has_one_narrow_role() -> None:
    users = {name: user for block in blocks("resource") for kind, named in block.items() if "google_sql_user" in kind
             for name, user in named.items()}  # fmt: skip
    roles = {name.strip('"'): re.findall(r"\w+", str(user["database_roles"])) for name, user in users.items()}
    assert roles == {"administrator": ["cloudsqlsuperuser"], "pipelines": ["steam_recsys_pipelines"]}


def test_the_role_of_the_pipelines_user_suffices_for_both_schemas(postgres: EmbeddedPostgres) -> None:
    url = postgres.ensure_database("shop")
    script = (DEPLOY / "roles.sql").read_text()
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        for _ in range(2):
            cursor.execute(script)
        cursor.execute("CREATE USER narrow PASSWORD 'narrow' IN ROLE steam_recsys_pipelines")
        cursor.execute("SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname LIKE 'steam_recsys_p%'")
        assert cursor.fetchall() == [(False, False, False)]
    connection.close()
    connection = psycopg2.connect(url, user="narrow", password="narrow")
    with connection:
        for schema in ("steam", "recsys"):
            create_schema(connection, schema)
        replace_functions(connection, "recsys")
    connection.close()


def test_the_workflow_pins_its_actions_and_uses_no_secrets() -> None:
    workflow = yaml.safe_load(WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    for line in re.findall(r"uses: (.*)", WORKFLOW):
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", line), line
    assert "secrets." not in WORKFLOW
    deploy = workflow["jobs"].pop("deploy")
    assert "github.ref_type == 'tag' && github.ref_protected" in deploy["if"]
    assert deploy["environment"] == "deployment"
    assert {"audit", "images"} <= set(deploy["needs"])
    assert "id-token" not in str(workflow["jobs"])
    assert not re.search(r"make push|--submit|--schedule|docker login", str(workflow["jobs"]))


def test_every_image_that_is_fetched_has_a_digest() -> None:
    assert unpinned() == []
    named = "\n".join(path.read_text() for path in FILES_WITH_IMAGES)
    assert len(re.findall(r"@sha256:[0-9a-f]{64}\b", named)) > 10


def test_providers_are_checked_against_the_lock_file() -> None:
    assert "-lockfile=readonly" in WORKFLOW
    assert "-lockfile=readonly" in CLOUD_BUILD
    assert "terraform -chdir=deploy/vertex providers lock" in (ROOT / "Makefile").read_text()
    lock = DEPLOY / ".terraform.lock.hcl"
    if lock.exists():
        assert set(re.findall(r'"registry\.terraform\.io/(\S+)"', lock.read_text())) == {
            "hashicorp/google",
            "hashicorp/random",
        }


def test_no_ci_script_contains_text_that_an_author_controls() -> None:
    """Names of branches and titles reach scripts through the environment only."""
    for job in yaml.safe_load(WORKFLOW)["jobs"].values():
        assert not [step["run"] for step in job["steps"] if "${{" in step.get("run", "")]
    build = yaml.safe_load(CLOUD_BUILD)
    assert build["options"]["automapSubstitutions"]
    assert all("args" not in step for step in build["steps"])


def test_cloud_build_pushes_nothing_for_pull_requests() -> None:
    scripts = {step["id"]: step["script"] for step in yaml.safe_load(CLOUD_BUILD)["steps"]}
    for step in ("push", "submit and schedule"):
        before, _, _ = scripts[step].partition("exit 0")
        assert '[ -n "$_PR_NUMBER" ] || [ -z "$TAG_NAME" ]' in before


@pytest.mark.parametrize("text", [WORKFLOW, CLOUD_BUILD, PAGE], ids=["workflow", "cloud build", "page"])
def test_the_commands_exist(text: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    options = set(command._parser()._option_string_actions)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    used = {name for line in lines for name in re.findall(r"(?:^|run: |`|\s{2})make ([a-z-]+)", line)}
    assert used
    assert used <= targets
    for line in re.findall(r"compile\.py (.*)", text):
        assert set(re.findall(r"--[a-z]+", line)) <= options, line
    for module in re.findall(r"python3? -m ([\w.]+)", text):
        assert (ROOT / module.replace(".", "/") / "__main__.py").is_file(), module

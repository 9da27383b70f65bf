"""The infrastructure on Google Cloud and the two CI definitions, checked without a cloud."""

import re
import shutil
import subprocess
from pathlib import Path

import hcl2
import pytest
import yaml

import compile as command
from pipelines.check import check_parameters
from pipelines.target import ENVIRONMENT, Target

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


def test_only_main_and_tags_of_the_repository_get_a_token() -> None:
    (condition,) = re.findall(r"attribute_condition = join\(.*?\]\)", FILES["github.tf"], re.DOTALL)
    assert "assertion.repository == '${var.github_repository}'" in condition
    assert "refs/heads/main" in condition
    assert "refs/tags/v" in condition


def test_the_workflow_pins_its_actions_and_uses_no_secrets() -> None:
    workflow = yaml.safe_load(WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    for line in re.findall(r"uses: (.*)", WORKFLOW):
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", line), line
    assert "secrets." not in WORKFLOW
    assert "id-token" not in str(workflow["jobs"]["test"])
    pushing = [step for step in workflow["jobs"]["images"]["steps"] if re.search(r"push|submit", str(step.get("run")))]
    assert len(pushing) == 2
    assert all("env.PUSHES == 'true'" in step["if"] for step in pushing)


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
        assert '[ -n "$_PR_NUMBER" ]' in before


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

"""The explorer's deployment to Cloud Run, compared with the explorer itself."""

import re
from typing import Any

import pytest

from explorer.middleware import READINESS
from explorer.server import LIVENESS
from explorer.settings import PREFIX, Settings
from tests.deploy.test_vertex import FILES, TEXT, blocks

EXPLORER = FILES["explorer.tf"]


def unquoted(value: Any) -> Any:
    """Return a parsed value without the quotes that the parser keeps."""
    if isinstance(value, dict):
        return {key.strip('"'): unquoted(each) for key, each in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [unquoted(each) for each in value]
    return value.strip('"') if isinstance(value, str) else value


def resource(kind: str, name: str) -> dict[str, Any]:
    (found,) = (unquoted(block)[kind] for block in blocks("resource") if kind in unquoted(block))
    return found[name]


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    return resource("google_cloud_run_v2_service", "explorer")


@pytest.fixture(scope="module")
def container(service: dict[str, Any]) -> dict[str, Any]:
    (template,) = service["template"]
    (container,) = template["containers"]
    return container


def variables(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in container["env"]}


def test_every_variable_is_a_setting_of_the_explorer(
    container: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, variable in variables(container).items():
        assert name.startswith(PREFIX)
        monkeypatch.setenv(name, variable.get("value", "postgresql://explorer@10.0.0.1/shop?sslmode=require"))
    settings = Settings.load()  # refuses unknown ones
    assert settings.store == "gs://${google_storage_bucket.store.name}/store"  # the online answers need it
    assert settings.trusted_proxies == "169.254.0.0/16"


def test_port_and_probes_are_the_explorers(container: dict[str, Any]) -> None:
    port = Settings.model_fields["port"].default
    assert container["ports"] == [{"container_port": port}]
    for kind, path in (("startup_probe", READINESS), ("liveness_probe", LIVENESS)):  # both without a rate limit
        (probe,) = container[kind]
        assert probe["http_get"] == [{"path": path, "port": port}]
        assert probe["timeout_seconds"] < probe["period_seconds"]
    (startup,) = container["startup_probe"]
    assert startup["period_seconds"] * startup["failure_threshold"] <= 240  # Cloud Run's longest start


def test_its_cores_are_not_throttled_and_enough_for_its_workers(container: dict[str, Any]) -> None:
    (resources,) = container["resources"]
    assert resources["cpu_idle"] is False
    assert int(resources["limits"]["cpu"]) >= Settings.model_fields["workers"].default


def test_it_is_closed_unless_a_variable_opens_it(service: dict[str, Any]) -> None:
    assert service["ingress"] == "${var.explorer_ingress}"
    (ingress,) = (unquoted(block)["explorer_ingress"] for block in blocks("variable") if '"explorer_ingress"' in block)
    assert ingress["default"] == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    assert not re.search(r"allUsers|allAuthenticatedUsers|invoker_iam_disabled", TEXT)


def test_its_account_reads_its_own_secret_and_the_store_and_nothing_else(service: dict[str, Any]) -> None:
    (template,) = service["template"]
    assert template["service_account"] == "${google_service_account.explorer.email}"
    granted = re.findall(r'resource "(\w+)" "\w+" \{[^}]*google_service_account\.explorer\.member', TEXT)
    assert sorted(granted) == ["google_secret_manager_secret_iam_member", "google_storage_bucket_iam_member"]
    roles = re.findall(r'role\s+= "([^"]+)"', EXPLORER)
    assert roles == ["roles/secretmanager.secretAccessor", "roles/storage.objectViewer", "roles/run.invoker"]


def test_the_database_url_comes_from_the_secret_and_not_from_terraform(container: dict[str, Any]) -> None:
    (source,) = variables(container)["EXPLORER_DATABASE_URL"]["value_source"]
    (reference,) = source["secret_key_ref"]
    assert reference["secret"] == "${google_secret_manager_secret.explorer_database_url.secret_id}"
    assert "google_secret_manager_secret_version" not in EXPLORER


def test_the_late_alert_waits_until_its_metric_can_be_used() -> None:
    _, _, late = FILES["alerts.tf"].partition('"google_monitoring_alert_policy" "late"')
    assert "depends_on = [google_sql_database_instance.this]" in late.partition("\nresource")[0]

output "settings" {
  description = "The target's settings, as environment variables: eval \"$(terraform output -raw settings)\"."
  value = join("\n", [for name, value in merge(
    {
      STEAM_RECSYS_REGISTRY                = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
      STEAM_RECSYS_PARAMETERS__SOURCE      = "sm://${google_secret_manager_secret.database_url.name}/versions/latest"
      STEAM_RECSYS_PARAMETERS__DATABASE    = "sm://${google_secret_manager_secret.database_url.name}/versions/latest"
      STEAM_RECSYS_PARAMETERS__STORE       = "gs://${google_storage_bucket.store.name}/store"
      STEAM_RECSYS_PARAMETERS__RAW         = "gs://${google_storage_bucket.store.name}/raw"
      STEAM_RECSYS_PARAMETERS__REGISTRY    = "vertex://${var.project}/${var.region}"
      STEAM_RECSYS_VERTEX__PROJECT         = var.project
      STEAM_RECSYS_VERTEX__REGION          = var.region
      STEAM_RECSYS_VERTEX__STAGING_BUCKET  = "gs://${google_storage_bucket.artifacts.name}"
      STEAM_RECSYS_VERTEX__SERVICE_ACCOUNT = google_service_account.pipelines.email
    },
    var.demo_database ? {
      STEAM_RECSYS_VERTEX__NETWORK_ATTACHMENT = google_compute_network_attachment.tasks[0].id
    } : {},
  ) : "export ${name}=${value}"])
}

output "github_variables" {
  description = "Variables of the GitHub repository that its workflow reads; empty if no repository is set."
  value = var.github_repository_id == "" ? {} : {
    WORKLOAD_IDENTITY_PROVIDER = google_iam_workload_identity_pool_provider.github[0].name
    DEPLOYMENT_SERVICE_ACCOUNT = google_service_account.deployment.email
  }
}

# Lets GitHub's workflow act as the deployment account with tokens that live for minutes, without a key.

resource "google_iam_workload_identity_pool" "github" {
  count = var.github_repository_id == "" ? 0 : 1

  workload_identity_pool_id = "${local.name}-github"
  depends_on                = [google_project_service.this]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  count = var.github_repository_id == "" ? 0 : 1

  workload_identity_pool_id          = google_iam_workload_identity_pool.github[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "github"

  # Only protected tags v… get a token, and only of this repository: a name can be taken over, its number cannot.
  attribute_condition = join(" && ", [
    "assertion.repository_id == '${var.github_repository_id}'",
    "assertion.repository_owner_id == '${var.github_owner_id}'",
    "assertion.ref_type == 'tag'",
    "assertion.ref.startsWith('refs/tags/v')",
    "assertion.ref_protected == 'true'",
    "assertion.environment == 'deployment'",
  ])
  attribute_mapping = {
    "google.subject"          = "assertion.sub"
    "attribute.repository_id" = "assertion.repository_id"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "github" {
  count = var.github_repository_id == "" ? 0 : 1

  service_account_id = google_service_account.deployment.name
  role               = "roles/iam.workloadIdentityUser" # let the repository's workflow act as the deployment account
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github[0].name}/attribute.repository_id/${var.github_repository_id}"
}

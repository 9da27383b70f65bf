# GitHub's workflow as the deployment account, by tokens that live for minutes: there is no key to lose.

resource "google_iam_workload_identity_pool" "github" {
  count = var.github_repository == "" ? 0 : 1

  workload_identity_pool_id = "${local.name}-github"
  depends_on                = [google_project_service.this]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  count = var.github_repository == "" ? 0 : 1

  workload_identity_pool_id          = google_iam_workload_identity_pool.github[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "github"

  # Only what is pushed to main or tagged: a pull request from anywhere gets no token.
  attribute_condition = join(" && ", [
    "assertion.repository == '${var.github_repository}'",
    "(assertion.ref == 'refs/heads/main' || assertion.ref.startsWith('refs/tags/v'))",
  ])
  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "github" {
  count = var.github_repository == "" ? 0 : 1

  service_account_id = google_service_account.deployment.name
  role               = "roles/iam.workloadIdentityUser" # the repository's workflow acts as the deployment account
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github[0].name}/attribute.repository/${var.github_repository}"
}

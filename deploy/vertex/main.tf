# Services, an image registry, buckets, and the secret with the database's URL.

locals {
  name = "steam-recsys"

  services = [
    "aiplatform.googleapis.com",           # pipelines, models
    "artifactregistry.googleapis.com",     # images
    "billingbudgets.googleapis.com",       # the budget
    "cloudbuild.googleapis.com",           # builds images
    "cloudresourcemanager.googleapis.com", # the project's roles
    "compute.googleapis.com",              # the network
    "iam.googleapis.com",                  # service accounts
    "iamcredentials.googleapis.com",       # short-lived tokens for GitHub's workflow
    "logging.googleapis.com",              # logs of the tasks
    "monitoring.googleapis.com",           # alerts
    "run.googleapis.com",                  # the explorer
    "secretmanager.googleapis.com",        # the database's URL
    "servicenetworking.googleapis.com",    # the database's private address
    "sqladmin.googleapis.com",             # the database
    "storage.googleapis.com",              # buckets
    "sts.googleapis.com",                  # exchanges GitHub's tokens for Google's
  ]
}

data "google_project" "this" {}

resource "google_project_service" "this" {
  for_each = toset(local.services)

  service            = each.value
  disable_on_destroy = false # other users of the project may need it
}

resource "google_artifact_registry_repository" "images" {
  repository_id = local.name
  location      = var.region
  format        = "DOCKER"
  description   = "Images of the pipelines' stages, tagged by their content."

  docker_config {
    immutable_tags = true # a tag always names the same content
  }

  # No clean-up policy: a schedule uses its images until it is replaced, and images with the same base share most layers.

  depends_on = [google_project_service.this]
}

# Raw files, models, the champion's pointer, predictions, journals.
resource "google_storage_bucket" "store" {
  name                        = "${var.project}-${local.name}-store"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.protected

  versioning {
    enabled = true # restores files overwritten or deleted by mistake
  }

  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 14
    }
    action {
      type = "Delete"
    }
  }

  lifecycle_rule {
    condition {
      age = 2
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  depends_on = [google_project_service.this]
}

# Artifacts exchanged by tasks: snapshots, evaluations, reports.
resource "google_storage_bucket" "artifacts" {
  name                        = "${var.project}-${local.name}-artifacts"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # all of it can be regenerated

  lifecycle_rule {
    condition {
      age = var.artifact_days
    }
    action {
      type = "Delete"
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_secret_manager_secret" "database_url" {
  secret_id = "${local.name}-database-url"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.this]
}

# The explorer on Cloud Run: pages and the JSON API over the published recommendations, and answers at once from the
# current publication's model. It reads the database through a private address, as a user that may only read.

locals {
  explorer_subnetwork = var.explorer_subnetwork != "" ? var.explorer_subnetwork : one(google_compute_subnetwork.explorer[*].id)
}

resource "google_service_account" "explorer" {
  account_id   = "${local.name}-explorer"
  display_name = "Runs the explorer"
  depends_on   = [google_project_service.this]
}

# The URL of the database for the user `explorer`, which is created after the first publication: see docs/vertex.md.
resource "google_secret_manager_secret" "explorer_database_url" {
  secret_id = "${local.name}-explorer-database-url"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_secret_manager_secret_iam_member" "explorer" {
  secret_id = google_secret_manager_secret.explorer_database_url.id
  role      = "roles/secretmanager.secretAccessor" # read its own database URL, and no other secret
  member    = google_service_account.explorer.member
}

resource "google_storage_bucket_iam_member" "explorer" {
  bucket = google_storage_bucket.store.name
  role   = "roles/storage.objectViewer" # read the current publication's model
  member = google_service_account.explorer.member
}

resource "google_compute_subnetwork" "explorer" {
  count = var.demo_database ? 1 : 0

  name                     = "${local.name}-explorer"
  network                  = google_compute_network.this[0].id
  region                   = var.region
  ip_cidr_range            = "10.10.1.0/26" # the smallest that Cloud Run accepts
  private_ip_google_access = true
}

resource "google_cloud_run_v2_service" "explorer" {
  count = var.explorer_image == "" ? 0 : 1

  name                = "${local.name}-explorer"
  location            = var.region
  ingress             = var.explorer_ingress
  deletion_protection = false # it keeps no data

  template {
    service_account = google_service_account.explorer.email

    scaling {
      min_instance_count = 0
      max_instance_count = 2
    }

    dynamic "vpc_access" {
      for_each = local.explorer_subnetwork == null ? [] : [local.explorer_subnetwork]
      content {
        egress = "PRIVATE_RANGES_ONLY"
        network_interfaces {
          subnetwork = vpc_access.value
        }
      }
    }

    containers {
      image = var.explorer_image

      ports {
        container_port = 8600
      }

      env {
        name = "EXPLORER_DATABASE_URL"
        value_source {
          secret_key_ref {
            secret  = google_secret_manager_secret.explorer_database_url.secret_id
            version = "latest"
          }
        }
      }

      env {
        name  = "EXPLORER_STORE"
        value = "gs://${google_storage_bucket.store.name}/store"
      }

      env {
        name  = "EXPLORER_TRUSTED_PROXIES"
        value = "169.254.0.0/16" # Cloud Run's own, which connects from a link-local address
      }

      resources {
        limits = {
          cpu    = "2" # one for each of the two workers
          memory = "2Gi"
        }
        cpu_idle          = false # it follows the publications between requests too
        startup_cpu_boost = true
      }

      # A new instance may reach the network only after a minute: it gets requests once it has read the database.
      startup_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 24
        http_get {
          path = "/readyz"
          port = 8600
        }
      }

      liveness_probe {
        period_seconds  = 30
        timeout_seconds = 10
        http_get {
          path = "/healthz"
          port = 8600
        }
      }
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.explorer]
}

resource "google_cloud_run_v2_service_iam_member" "users" {
  for_each = toset(var.explorer_image == "" ? [] : var.explorer_users)

  name     = google_cloud_run_v2_service.explorer[0].name
  location = var.region
  role     = "roles/run.invoker" # open the explorer's pages and call its API
  member   = each.value
}

output "explorer_url" {
  description = "Address of the explorer; null if no image is set."
  value       = one(google_cloud_run_v2_service.explorer[*].uri)
}

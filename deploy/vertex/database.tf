# A PostgreSQL with a private address for the demo, and the network to reach it. Tasks on Vertex AI enter the network
# through a network attachment, which gives access to peered networks such as Cloud SQL's. Peering Vertex AI with the
# network would not work, because peering is not transitive.

resource "google_compute_network" "this" {
  count = var.demo_database ? 1 : 0

  name                    = local.name
  auto_create_subnetworks = false
  depends_on              = [google_project_service.this]
}

resource "google_compute_subnetwork" "tasks" {
  count = var.demo_database ? 1 : 0

  name                     = "${local.name}-tasks"
  network                  = google_compute_network.this[0].id
  region                   = var.region
  ip_cidr_range            = "10.10.0.0/24"
  private_ip_google_access = true
}

resource "google_compute_network_attachment" "tasks" {
  count = var.demo_database ? 1 : 0

  name                  = "${local.name}-tasks"
  region                = var.region
  subnetworks           = [google_compute_subnetwork.tasks[0].id]
  connection_preference = "ACCEPT_MANUAL" # Vertex AI's service agent adds itself with the role below

  lifecycle {
    ignore_changes = [producer_accept_lists] # written by that agent
  }
}

resource "google_project_iam_custom_role" "attach" {
  count = var.demo_database ? 1 : 0

  role_id = "steamRecsysAttach"
  title   = "Attach Vertex AI's tasks to the network"
  permissions = [
    "compute.networkAttachments.get",
    "compute.networkAttachments.update",
    "compute.regionOperations.get",
  ]
}

resource "google_project_iam_member" "attach" {
  count = var.demo_database ? 1 : 0

  project = var.project
  role    = google_project_iam_custom_role.attach[0].id # let the tasks into the network, and change nothing else in it
  member  = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-aiplatform.iam.gserviceaccount.com"
}

resource "google_compute_global_address" "database" {
  count = var.demo_database ? 1 : 0

  name          = "${local.name}-database"
  network       = google_compute_network.this[0].id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 24
}

resource "google_service_networking_connection" "database" {
  count = var.demo_database ? 1 : 0

  network                 = google_compute_network.this[0].id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.database[0].name]
  deletion_policy         = "ABANDON" # it can be removed only hours after its database; deleting the network removes it
}

resource "google_sql_database_instance" "this" {
  count = var.demo_database ? 1 : 0

  name                = local.name
  region              = var.region
  database_version    = "POSTGRES_17"
  deletion_protection = var.protected

  settings {
    tier            = var.database_tier
    edition         = "ENTERPRISE"
    disk_size       = 20
    disk_autoresize = true

    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
    }

    data_api_access = "ALLOW_DATA_API" # Terraform runs the script below through it

    database_flags {
      name  = "cloudsql.iam_authentication"
      value = "on"
    }

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.this[0].id
      ssl_mode        = "ENCRYPTED_ONLY"
    }
  }

  depends_on = [google_service_networking_connection.database]
}

resource "google_sql_database" "shop" {
  count = var.demo_database ? 1 : 0

  name     = "shop"
  instance = google_sql_database_instance.this[0].name
}

# The account that applies this configuration; it is the database's administrator and needs no password.
data "google_client_openid_userinfo" "this" {}

resource "google_sql_user" "administrator" {
  count = var.demo_database ? 1 : 0

  name           = trimsuffix(data.google_client_openid_userinfo.this.email, ".gserviceaccount.com")
  type           = endswith(data.google_client_openid_userinfo.this.email, ".gserviceaccount.com") ? "CLOUD_IAM_SERVICE_ACCOUNT" : "CLOUD_IAM_USER"
  instance       = google_sql_database_instance.this[0].name
  database_roles = ["cloudsqlsuperuser"]
}

# What the pipelines may do: create their schemas in this one database. Cloud SQL makes a user without roles a member of
# cloudsqlsuperuser.
resource "google_sql_provision_script" "roles" {
  count = var.demo_database ? 1 : 0

  description = "The role of the pipelines' user."
  instance    = google_sql_database_instance.this[0].name
  database    = google_sql_database.shop[0].name
  script      = file("${path.module}/roles.sql")
  depends_on  = [google_sql_user.administrator]
}

# Generated in each Terraform run, used only if the versions below change, and never stored in the state.
ephemeral "random_password" "database" {
  length  = 32
  special = false
}

locals {
  password_version = 1 # raise it to change the password
}

resource "google_sql_user" "pipelines" {
  count = var.demo_database ? 1 : 0

  name                = "pipelines"
  instance            = google_sql_database_instance.this[0].name
  database_roles      = ["steam_recsys_pipelines"]
  password_wo         = ephemeral.random_password.database.result
  password_wo_version = local.password_version
  depends_on          = [google_sql_provision_script.roles]
}

resource "google_secret_manager_secret_version" "database_url" {
  count = var.demo_database ? 1 : 0

  secret = google_secret_manager_secret.database_url.id
  secret_data_wo = format(
    "postgresql://%s:%s@%s:5432/%s?sslmode=require",
    google_sql_user.pipelines[0].name,
    ephemeral.random_password.database.result,
    google_sql_database_instance.this[0].private_ip_address,
    google_sql_database.shop[0].name,
  )
  secret_data_wo_version = local.password_version
}

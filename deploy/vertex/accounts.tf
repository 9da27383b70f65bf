# Two service accounts without keys: one for the tasks, one that builds and deploys.

resource "google_service_account" "pipelines" {
  account_id   = "${local.name}-pipelines"
  display_name = "Runs the pipelines' tasks"
  depends_on   = [google_project_service.this]
}

resource "google_service_account" "deployment" {
  account_id   = "${local.name}-deployment"
  display_name = "Builds images, submits and schedules pipelines"
  depends_on   = [google_project_service.this]
}

resource "google_project_iam_member" "pipelines" {
  for_each = toset([
    "roles/aiplatform.user",   # start the tasks of a run, write its metadata, register and label models
    "roles/logging.logWriter", # write the tasks' logs
  ])

  project = var.project
  role    = each.value
  member  = google_service_account.pipelines.member
}

resource "google_storage_bucket_iam_member" "pipelines" {
  for_each = {
    store     = google_storage_bucket.store.name
    artifacts = google_storage_bucket.artifacts.name
  }

  bucket = each.value
  role   = "roles/storage.objectUser" # read and write the tasks' files, and replace the champion's pointer
  member = google_service_account.pipelines.member
}

resource "google_storage_bucket_iam_member" "pipelines_bucket" {
  bucket = google_storage_bucket.artifacts.name
  role   = "roles/storage.legacyBucketReader" # Vertex AI reads the bucket's metadata before a run
  member = google_service_account.pipelines.member
}

resource "google_secret_manager_secret_iam_member" "pipelines" {
  secret_id = google_secret_manager_secret.database_url.id
  role      = "roles/secretmanager.secretAccessor" # read the database's URL inside the step, and no other secret
  member    = google_service_account.pipelines.member
}

resource "google_artifact_registry_repository_iam_member" "pipelines" {
  repository = google_artifact_registry_repository.images.name
  location   = var.region
  role       = "roles/artifactregistry.reader" # pull the images that the tasks run in
  member     = google_service_account.pipelines.member
}

resource "google_service_account_iam_member" "pipelines_as_pipelines" {
  service_account_id = google_service_account.pipelines.name
  role               = "roles/iam.serviceAccountUser" # start the custom job of a training with several workers as itself
  member             = google_service_account.pipelines.member
}

resource "google_project_iam_member" "deployment" {
  for_each = toset([
    "roles/aiplatform.user",   # submit runs, follow them, create and delete schedules
    "roles/logging.logWriter", # write the logs of Cloud Build
  ])

  project = var.project
  role    = each.value
  member  = google_service_account.deployment.member
}

resource "google_artifact_registry_repository_iam_member" "deployment" {
  repository = google_artifact_registry_repository.images.name
  location   = var.region
  role       = "roles/artifactregistry.writer" # push images; writers cannot delete them
  member     = google_service_account.deployment.member
}

resource "google_storage_bucket_iam_member" "deployment" {
  for_each = toset([
    "roles/storage.objectViewer",       # read the files of runs that it submitted
    "roles/storage.legacyBucketReader", # the client reads the bucket's metadata before it submits
  ])

  bucket = google_storage_bucket.artifacts.name
  role   = each.value
  member = google_service_account.deployment.member
}

resource "google_service_account_iam_member" "deployment_as_pipelines" {
  service_account_id = google_service_account.pipelines.name
  role               = "roles/iam.serviceAccountUser" # a caller that submits a run must be allowed to act as its account
  member             = google_service_account.deployment.member
}

terraform {
  required_version = ">= 1.11" # write-only attributes keep the database's password out of the state

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.31" # scripts and roles in Cloud SQL
    }
    random = {
      source  = "hashicorp/random"
      version = "~> 3.7"
    }
  }

  # The bucket is named by `terraform init -backend-config=bucket=…`: see docs/vertex.md.
  backend "gcs" {
    prefix = "steam-recsys"
  }
}

provider "google" {
  project               = var.project
  region                = var.region
  user_project_override = true # the budget API requires a project
  billing_project       = var.project
}

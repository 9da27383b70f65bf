variable "project" {
  description = "Id of an existing Google Cloud project with billing."
  type        = string
}

variable "region" {
  description = "Region of all resources, such as europe-west1."
  type        = string
}

variable "alert_email" {
  description = "Email address for alerts about failed or missing runs and about the budget."
  type        = string
}

variable "billing_account" {
  description = "Id of the billing account for a monthly budget, such as 000000-AAAAAA-000000; empty for no budget."
  type        = string
  default     = ""
}

variable "monthly_budget" {
  description = "Budget in whole units of the billing account's currency; alerts are sent at 50, 90 and 100 percent."
  type        = number
  default     = 150
}

variable "github_repository_id" {
  description = "Number of the GitHub repository whose workflow deploys; empty for none."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[0-9]*$", var.github_repository_id))
    error_message = "github_repository_id must be a number: see docs/vertex.md for the command that prints it."
  }
}

variable "github_owner_id" {
  description = "Number of the user or organization that owns that repository."
  type        = string
  default     = ""

  validation {
    condition     = can(regex(var.github_repository_id == "" ? "^[0-9]*$" : "^[0-9]+$", var.github_owner_id))
    error_message = "github_owner_id must be a number: see docs/vertex.md for the command that prints it."
  }
}

variable "demo_database" {
  description = "Whether to create a PostgreSQL in Cloud SQL. A shop with its own database writes that URL into the secret."
  type        = bool
  default     = true
}

variable "database_tier" {
  description = "Machine type of the database in Cloud SQL, db-custom-CPUS-MEGABYTES."
  type        = string
  default     = "db-custom-2-8192"
}

variable "protected" {
  description = "Whether the database, and a store that is not empty, are protected from destruction."
  type        = bool
  default     = true
}

variable "artifact_days" {
  description = "Days after which the artifacts of runs are deleted. Models are kept."
  type        = number
  default     = 30
}

variable "explorer_image" {
  description = "Image of the explorer for Cloud Run; empty to deploy none."
  type        = string
  default     = ""
}

variable "explorer_users" {
  description = "Who may open the explorer: members such as user:ann@example.org or serviceAccount:NAME@PROJECT.iam.gserviceaccount.com."
  type        = list(string)
  default     = []
}

variable "explorer_ingress" {
  description = "From where the explorer can be reached: from the project's networks, from a load balancer too, or from everywhere. Callers must be among the users in any case."
  type        = string
  default     = "INGRESS_TRAFFIC_INTERNAL_ONLY"

  validation {
    condition     = contains(["INGRESS_TRAFFIC_INTERNAL_ONLY", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER", "INGRESS_TRAFFIC_ALL"], var.explorer_ingress)
    error_message = "explorer_ingress must be INGRESS_TRAFFIC_INTERNAL_ONLY, INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER or INGRESS_TRAFFIC_ALL."
  }
}

variable "explorer_subnetwork" {
  description = "Subnetwork through which the explorer reaches a database with a private address, projects/PROJECT/regions/REGION/subnetworks/NAME; empty for the demo database's."
  type        = string
  default     = ""
}

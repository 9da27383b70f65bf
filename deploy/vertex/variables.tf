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

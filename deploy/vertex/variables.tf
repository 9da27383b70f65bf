variable "project" {
  description = "The id of a Google Cloud project that exists and has billing."
  type        = string
}

variable "region" {
  description = "Where everything runs and is kept, as europe-west1."
  type        = string
}

variable "alert_email" {
  description = "Who is told of runs that failed or did not happen, and of the budget."
  type        = string
}

variable "billing_account" {
  description = "The id of the billing account for a monthly budget, as 000000-AAAAAA-000000; empty for no budget."
  type        = string
  default     = ""
}

variable "monthly_budget" {
  description = "In whole units of the billing account's currency; alerts are sent at 50, 90 and 100 percent of it."
  type        = number
  default     = 150
}

variable "github_repository" {
  description = "OWNER/NAME of the repository whose workflow builds and deploys; empty for none."
  type        = string
  default     = ""
}

variable "demo_database" {
  description = "Whether to create a PostgreSQL in Cloud SQL. A shop that has its own writes that one's URL into the secret."
  type        = bool
  default     = true
}

variable "database_tier" {
  description = "The machine of the database in Cloud SQL, as db-custom-CPUS-MEGABYTES."
  type        = string
  default     = "db-custom-2-8192"
}

variable "protected" {
  description = "Whether the database, and a store that is not empty, are kept from being destroyed."
  type        = bool
  default     = true
}

variable "artifact_days" {
  description = "Days after which the artifacts of runs are deleted. Models are kept."
  type        = number
  default     = 30
}

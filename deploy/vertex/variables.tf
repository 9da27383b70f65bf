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

variable "github_repository" {
  description = "OWNER/NAME of the repository whose workflow builds and deploys; empty for none."
  type        = string
  default     = ""
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

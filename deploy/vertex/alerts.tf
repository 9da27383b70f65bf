# Alerts by email: a failed run, a day without a successful inference run, the budget.

resource "google_monitoring_notification_channel" "email" {
  display_name = local.name
  type         = "email"
  labels       = { email_address = var.alert_email }
  depends_on   = [google_project_service.this]
}

resource "google_logging_metric" "succeeded" {
  name        = "${local.name}/inference-succeeded"
  description = "Inference runs that published."
  filter      = <<-EOT
    logName="projects/${var.project}/logs/aiplatform.googleapis.com%2Fpipeline_job_events"
    jsonPayload.state="PIPELINE_STATE_SUCCEEDED"
    jsonPayload.pipelineName=~"^inference"
  EOT

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }

  depends_on = [google_project_service.this]
}

resource "google_monitoring_alert_policy" "failed" {
  display_name          = "Steam RecSys: a run failed"
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = "A pipeline's state is failed"
    condition_matched_log {
      filter = <<-EOT
        logName="projects/${var.project}/logs/aiplatform.googleapis.com%2Fpipeline_job_events"
        jsonPayload.state="PIPELINE_STATE_FAILED"
      EOT
    }
  }

  alert_strategy {
    notification_rate_limit {
      period = "3600s"
    }
    auto_close = "86400s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The previous publication stays current. The failed task's log gives the reason. Then submit the run again: every stage can be repeated. The table recsys.pipeline_runs has the outcome of each run."
  }
}

resource "google_monitoring_alert_policy" "late" {
  display_name          = "Steam RecSys: no new recommendations"
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.email.id]

  conditions {
    display_name = "No inference run has succeeded for 30 hours"
    condition_threshold {
      filter                  = "resource.type=\"aiplatform.googleapis.com/PipelineJob\" AND metric.type=\"logging.googleapis.com/user/${google_logging_metric.succeeded.name}\""
      comparison              = "COMPARISON_LT"
      threshold_value         = 1
      duration                = "18000s" # a run that trains a model may end five hours later than the day before
      evaluation_missing_data = "EVALUATION_MISSING_DATA_ACTIVE"
      aggregations {
        alignment_period     = "90000s" # Monitoring's longest period, an hour more than a day
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Check that the inference schedule is active, and its last runs. The previous publication stays current meanwhile."
  }

  # A policy can only refer to a new metric minutes after the metric was created; the database takes longer.
  depends_on = [google_sql_database_instance.this]
}

resource "google_billing_budget" "this" {
  count = var.billing_account == "" ? 0 : 1

  billing_account = var.billing_account
  display_name    = local.name

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
  }

  amount {
    specified_amount {
      units = tostring(var.monthly_budget)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
    }
  }

  all_updates_rule {
    monitoring_notification_channels = [google_monitoring_notification_channel.email.id]
  }

  depends_on = [google_project_service.this]
}

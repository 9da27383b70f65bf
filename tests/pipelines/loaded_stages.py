"""Loads what the stages of inference import when they run, so that the runs of a fork server do not."""

import components.extract.extraction
import components.monitor.monitoring
import components.notify.outcome
import components.predict.plan
import components.predict.prediction
import components.refresh.refresh
import components.reverse_etl.publication
import components.validate.validation  # noqa: F401

"""Loads what the stages of inference import when they run, so that the runs of a fork server do not."""

import components.extract.extraction
import components.monitor.monitoring
import components.notify.outcome
import components.predict.plan
import components.predict.prediction
import components.refresh.refresh
import components.reverse_etl.publication
import components.validate.validation  # noqa: F401
from components.validate.checks import check_columns
from steam_recsys.data.schemas import TABLES

for _table, _schema in TABLES.items():
    check_columns(_table, _schema.empty_table())  # pandera imports most of itself at the first check

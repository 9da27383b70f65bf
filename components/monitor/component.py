"""The monitoring stage as a KFP component."""

from kfp import dsl

from components.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def monitor(
    snapshot: dsl.Input[dsl.Dataset],
    database: str,
    publish_to: str,
    mongodb: str,
    quality_floor: float,
    quality_users: int,
    drift_ceiling: float,
    unknown_ceiling: float,
    drift_reviews: int,
    age_ceiling: int,
    growth_ceiling: float,
    rest_days: int,
    store: str,
    run: str,
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    monitoring: dsl.Output[dsl.Artifact],
) -> bool:
    """Drift, age and realised quality → recsys.monitoring. Returns whether the model must be trained again."""
    from components.monitor.monitoring import monitor as measure_and_decide
    from components.monitor.thresholds import Thresholds
    from steam_recsys.publications.destinations import DestinationConfig
    from steam_recsys.stage import stage

    thresholds = Thresholds(
        quality_floor,
        quality_users,
        drift_ceiling,
        unknown_ceiling,
        drift_reviews,
        age_ceiling,
        growth_ceiling,
        rest_days,
    )
    with stage("monitor", store, run) as record:
        places = DestinationConfig(database, publish_to, mongodb)
        monitored = measure_and_decide(snapshot.path, places, store, report.path, run, thresholds)
        monitored.write(monitoring.path)
        record.facts.update(monitored.facts())
        for name, figure in monitored.figures.items():
            if figure is not None:
                metrics.log_metric(name, figure)
    return monitored.decision.retrain

"""The monitoring stage as a KFP component."""

from kfp import dsl

from components import DATA_IMAGE


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
    published_overlap_ceiling: float,
    published_coverage_floor: float,
    published_users: int,
    cooldown_days: int,
    store: str,
    run: str,
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    monitoring: dsl.Output[dsl.Artifact],
) -> bool:
    """Measure drift, age and realised quality of the champion. Returns whether to train again."""
    from components.monitor.decision import Thresholds
    from components.monitor.monitoring import monitor as run_monitoring
    from steam_recsys.publications.destinations import DestinationConfig
    from steam_recsys.stage import stage

    thresholds = Thresholds(
        quality_floor=quality_floor,
        quality_users=quality_users,
        drift_ceiling=drift_ceiling,
        unknown_ceiling=unknown_ceiling,
        drift_reviews=drift_reviews,
        age_ceiling=age_ceiling,
        growth_ceiling=growth_ceiling,
        published_overlap_ceiling=published_overlap_ceiling,
        published_coverage_floor=published_coverage_floor,
        published_users=published_users,
        cooldown_days=cooldown_days,
    )
    with stage("monitor", store, run) as record:
        destinations = DestinationConfig(database, publish_to, mongodb)
        monitored = run_monitoring(snapshot.path, destinations, store, report.path, run, thresholds)
        monitored.write(monitoring.path)
        record.facts.update(monitored.facts())
        for name, figure in monitored.figures.items():
            if figure is not None:
                metrics.log_metric(name, figure)
    return monitored.decision.retrain

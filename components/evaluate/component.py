"""The evaluation stage as KFP components: evaluate a model, then promote it if it passed the gate."""

from kfp import dsl

from components import MODEL_IMAGE


@dsl.component(base_image=MODEL_IMAGE, install_kfp_package=False)
def evaluate(
    snapshot: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    store: str,
    run: str,
    accuracy_margin: float,
    champion_gain: float,
    personal_margin: float,
    coverage_floor: float,
    slice_margin: float,
    slice_users: int,
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    evaluation: dsl.Output[dsl.Artifact],
) -> bool:
    """Compare the model with baselines and champion on held-out reviews. Returns whether to promote it."""
    from components.evaluate.evaluation import evaluate_model
    from components.evaluate.gate import Thresholds
    from steam_recsys.stage import stage

    thresholds = Thresholds(
        accuracy_margin=accuracy_margin,
        champion_gain=champion_gain,
        personal_margin=personal_margin,
        coverage_floor=coverage_floor,
        slice_margin=slice_margin,
        slice_users=slice_users,
    )
    with stage("evaluate", store, run) as record:
        evaluated = evaluate_model(snapshot.path, model.path, store, evaluation.path, report.path, thresholds)
        record.facts.update(evaluated.facts())
        for name, figure in evaluated.metrics.items():
            metrics.log_metric(name, figure)
    return evaluated.verdict.passed


@dsl.component(base_image=MODEL_IMAGE, install_kfp_package=False)
def promote(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    registry: str,
    serving_image: str,
    store: str,
    run: str,
) -> str:
    """Make the model the champion. Returns its version."""
    from components.evaluate.promotion import promote as promote_model
    from steam_recsys.stage import stage

    with stage("promote", store, run):
        return promote_model(store, model.path, evaluation.path, registry, serving_image)

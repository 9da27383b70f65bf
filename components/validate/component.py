"""The validation stage as a KFP component."""

from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def validate(snapshot: dsl.Input[dsl.Dataset], store: str, run: str, report: dsl.Output[dsl.HTML]) -> int:
    """Check the snapshot against its contract; errors fail the run. Returns the number of warnings."""
    from components.validate.validation import validate_snapshot
    from steam_recsys.stage import stage

    with stage("validate", store, run) as record:
        result = validate_snapshot(snapshot.path, report.path, store)
        record.facts.update(result.facts())
    return result.warnings

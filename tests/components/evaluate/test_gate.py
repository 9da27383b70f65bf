import numpy as np
import pytest

from components.evaluate.gate import Thresholds, decide
from steam_recsys.arrays import Float64Array
from steam_recsys.evaluation.intervals import Comparison
from steam_recsys.rules import FAILED, NOT_ENOUGH, PASSED, Verdict

RECENT = np.array([0.1, 0.3, 0.2, 0.2])
POPULAR = RECENT - 0.05
COVERAGE = {"challenger": 0.2, "popularity": 0.1}
FEW_USERS = Thresholds(baseline_errors=1.0, slice_users=4)


def compared(challenger: Float64Array, champion: Float64Array | None = None, **baselines: Float64Array) -> Comparison:
    opponents = {name.replace("_", " "): figures for name, figures in baselines.items()}
    opponents |= {"champion": champion} if champion is not None else {}
    return Comparison.from_figures(
        {name: {"ndcg_at_10": of} for name, of in {"challenger": challenger, **opponents}.items()}
    )


def overall(challenger: Float64Array, champion: Float64Array | None = None) -> Comparison:
    return compared(challenger, champion, popularity=POPULAR, recent_popularity=RECENT)


def decided(
    challenger: Float64Array = RECENT,
    champion: Float64Array | None = None,
    coverage: dict[str, float] = COVERAGE,
    slices: dict[str, Comparison] | None = None,
    thresholds: Thresholds = FEW_USERS,
) -> Verdict:
    return decide(overall(challenger, champion), coverage, slices or {}, thresholds)


CASES = {
    "baseline": (
        {"challenger": RECENT - 0.001},
        "NDCG@10 of all users: 0.1990, must be at least 0.2000 (0.2000 of the best baseline, recent popularity, "
        "less 1 × 0.0000, the difference's standard error): failed.",
    ),
    "champion": (
        {"challenger": RECENT + 0.01, "champion": RECENT + 0.02},
        "NDCG@10 of all users: 0.2100, must be more than 0.2200 (0.2200 of the champion): failed.",
    ),
    "level with the champion": (
        {"challenger": RECENT + 0.01, "champion": RECENT + 0.01},
        "NDCG@10 of all users: 0.2100, must be more than 0.2100 (0.2100 of the champion): failed.",
    ),
    "coverage": (
        {"coverage": {"challenger": 0.08, "popularity": 0.1}},
        "Share of the catalogue that is recommended: 0.0800, must be at least 0.0900 (0.9 × 0.1000 of "
        "popularity): failed.",
    ),
    "slice": (
        {"slices": {"users with 1 review": compared(RECENT * 0.65, EASE=RECENT, champion=RECENT * 0.5)}},
        "NDCG@10 of users with 1 review: 0.1300, must be at least 0.1257 (0.7 × 0.2000 of EASE, less 1 × "
        "0.0143, the difference's standard error): passed.",
    ),
    "worse slice": (
        {"slices": {"users with 1 review": compared(RECENT * 0.6, EASE=RECENT)}},
        "NDCG@10 of users with 1 review: 0.1200, must be at least 0.1237 (0.7 × 0.2000 of EASE, less 1 × "
        "0.0163, the difference's standard error): failed.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_rule_decides_by_itself_and_reports_its_numbers(case: str) -> None:
    given, sentence = CASES[case]
    verdict = decided(**given)
    assert sentence in verdict.sentences
    failed = [str(rule) for rule in verdict.rules if rule.outcome == FAILED]
    assert failed == ([sentence] if sentence.endswith("failed.") else [])
    assert verdict.passed == (not failed)
    assert [str(rule) for rule in verdict.failures] == failed


def test_every_rule_is_listed() -> None:
    slices = {"users with 1 review": compared(RECENT, EASE=RECENT), "games of the genre Action": Comparison(0, {}, {})}
    verdict = decided(RECENT + 0.01, champion=RECENT, slices=slices)
    assert [(rule.about, rule.outcome) for rule in verdict.rules] == [
        ("NDCG@10 of all users", PASSED),
        ("NDCG@10 of all users", PASSED),
        ("Share of the catalogue that is recommended", PASSED),
        ("NDCG@10 of users with 1 review", PASSED),
        ("NDCG@10 of games of the genre Action", NOT_ENOUGH),
    ]
    assert verdict.passed


def test_a_slice_with_few_users_decides_nothing() -> None:
    slices = {"users with 1 review": compared(RECENT * 0, EASE=RECENT)}
    verdict = decided(slices=slices, thresholds=Thresholds(baseline_errors=1.0, slice_users=5))
    assert verdict.passed
    assert verdict.sentences[-1] == (
        "NDCG@10 of users with 1 review: 0.0000 (4 of at least 5 users): not enough evidence."
    )
    assert not decided(slices=slices, thresholds=Thresholds(baseline_errors=1.0, slice_users=4)).passed


def test_a_slice_without_users_decides_nothing_even_if_none_are_required() -> None:
    verdict = decided(slices={"games not reviewed before": Comparison(0, {}, {})}, thresholds=Thresholds(slice_users=0))
    assert verdict.rules[-1].outcome == NOT_ENOUGH


def test_a_tie_passes_except_with_the_champion() -> None:
    coverage = {"challenger": 0.9 * 0.1, "popularity": 0.1}
    assert decided(RECENT, coverage=coverage).passed
    assert not decided(RECENT, champion=RECENT, coverage=coverage).passed


def test_a_shortfall_within_the_interval_of_the_difference_is_a_tie_with_a_baseline() -> None:
    differences = np.array([0.1, -0.1, 0.1, -0.1])  # standard error 0.0577, 1.96 of them 0.1132
    assert decided(RECENT + differences - 0.113, thresholds=Thresholds()).passed
    assert not decided(RECENT + differences - 0.114, thresholds=Thresholds()).passed
    assert not decided(RECENT + differences - 0.06, thresholds=Thresholds(baseline_errors=1.0)).passed


def test_a_shortfall_behind_the_champion_passes_only_if_the_thresholds_allow_it() -> None:
    shortfall = np.array([0.1, -0.1, 0.1, -0.11])
    assert decided(RECENT + shortfall).passed
    assert not decided(RECENT + shortfall, champion=RECENT).passed
    assert decided(RECENT + shortfall, champion=RECENT, thresholds=Thresholds(champion_errors=0.1)).passed


@pytest.mark.parametrize(("gain", "promoted"), [(0.05, False), (0.06, True)])
def test_the_thresholds_can_require_a_significant_gain_over_the_champion(gain: float, promoted: bool) -> None:
    differences = np.array([0.1, -0.1, 0.1, -0.1])  # standard error 0.0577
    thresholds = Thresholds(champion_errors=-1)
    assert decided(RECENT + differences + gain, champion=RECENT, thresholds=thresholds).passed == promoted


@pytest.mark.parametrize("errors", [-1.0, 0.0, 1.0])
def test_the_difference_to_the_champion_must_be_above_the_bound_itself(errors: float) -> None:
    champion, spread = np.array([0.5, 0.5]), np.array([0.25, -0.25])  # the difference's standard error is 0.25
    for beyond, promoted in ((0.0, False), (2.0**-40, True)):
        challenger = champion + spread - errors * 0.25 + beyond
        comparison = compared(challenger, champion, popularity=np.zeros(2))
        assert comparison.differences["champion"]["ndcg_at_10"].error == 0.25
        assert decide(comparison, COVERAGE, {}, Thresholds(champion_errors=errors)).passed == promoted


@pytest.mark.parametrize("seed", range(20))
def test_the_same_figures_in_another_order_do_not_beat_the_champion(seed: int) -> None:
    """Summed in another order, the same figures may come to another last digit."""
    random = np.random.default_rng(seed)
    champion = 1 / np.log2(random.integers(2, 12, 300))
    comparison = compared(random.permutation(champion), champion, popularity=np.zeros(300))
    assert not decide(comparison, COVERAGE, {}, Thresholds()).passed


def test_any_higher_mean_beats_the_champion() -> None:
    assert decided(RECENT + 1e-9, champion=RECENT).passed


def test_a_single_user_has_no_standard_error() -> None:
    one = RECENT[:1]
    for challenger, promoted in ((one, True), (one - 0.01, False)):
        comparison = compared(challenger, popularity=one)
        assert decide(comparison, COVERAGE, {}, Thresholds()).passed == promoted


def test_nan_fails() -> None:
    assert not decided(np.full(4, np.nan)).passed
    assert not decided(coverage={"challenger": np.nan, "popularity": 0.1}).passed
    assert not decided(thresholds=Thresholds(baseline_errors=np.nan)).passed


def test_the_inputs_are_not_changed() -> None:
    comparison, coverage, slices = overall(RECENT, RECENT), dict(COVERAGE), {"a": overall(RECENT)}
    decide(comparison, coverage, slices, Thresholds())
    assert comparison == overall(RECENT, RECENT)
    assert coverage == COVERAGE
    assert slices == {"a": overall(RECENT)}

import numpy as np
import pytest

from components.evaluate.gate import Thresholds, decide, describe_trade
from steam_recsys.arrays import Float64Array
from steam_recsys.evaluation.intervals import Comparison
from steam_recsys.rules import FAILED, NOT_ENOUGH, PASSED, Verdict

RECENT = np.tile([0.1, 0.3, 0.2, 0.2], 5)
POPULAR = RECENT - 0.05
PERSONAL = {"jaccard_at_10": 0.5, "popular_ten": 0.3, "coverage_at_10": 0.2}
FEW_USERS = Thresholds(slice_users=4)

Figures = dict[str, float]


def figures(**changed: float) -> Figures:
    """Figures beyond accuracy: those of `PERSONAL`, except for some, without their list length in the name."""
    names = {"jaccard": "jaccard_at_10", "popular_ten": "popular_ten", "coverage": "coverage_at_10"}
    return PERSONAL | {names[name]: figure for name, figure in changed.items()}


def compared(challenger: Float64Array, champion: Float64Array | None = None, **baselines: Float64Array) -> Comparison:
    opponents = {name.replace("_", " "): of for name, of in baselines.items()}
    opponents |= {"champion": champion} if champion is not None else {}
    return Comparison.from_figures(
        {name: {"ndcg_at_10": of} for name, of in {"challenger": challenger, **opponents}.items()}
    )


def overall(challenger: Float64Array, champion: Float64Array | None = None) -> Comparison:
    return compared(challenger, champion, popularity=POPULAR, recent_popularity=RECENT)


def beyond(**changed: Figures) -> dict[str, Figures]:
    return dict.fromkeys(("challenger", "popularity", "recent popularity", "champion"), PERSONAL) | changed


def decided(
    challenger: Float64Array = RECENT,
    champion: Float64Array | None = None,
    personal: dict[str, Figures] | None = None,
    slices: dict[str, Comparison] | None = None,
    thresholds: Thresholds = FEW_USERS,
) -> Verdict:
    return decide(overall(challenger, champion), personal or beyond(), slices or {}, thresholds)


CASES = {
    "baseline": (
        {"challenger": RECENT - 0.011},
        "NDCG@10 of all users, challenger minus recent popularity: -0.0110, must be at least -0.0100 (lower end of the "
        "95 % interval of -0.0110; 0.05 × 0.2000 may be lost): failed.",
    ),
    "champion": (
        {"challenger": RECENT, "champion": RECENT + 0.02, "personal": beyond(challenger=figures(jaccard=0.2))},
        "NDCG@10 of all users, challenger minus champion: -0.0200, must be at least -0.0110 (lower end of the 95 % "
        "interval of -0.0200; 0.05 × 0.2200 may be lost): failed.",
    ),
    "level with the champion": (
        {"challenger": RECENT + 0.01, "champion": RECENT + 0.01},
        "Advantages over the champion: 0, must be at least 1 (NDCG@10 0.2100 against 0.2100, overlap 0.5000 against "
        "0.5000, popular ten 0.3000 against 0.3000, coverage 0.2000 against 0.2000): failed.",
    ),
    "overlap of popularity": (
        {"personal": beyond(challenger=figures(jaccard=0.56))},
        "Overlap of two users' ten games: 0.5600, must be at most 0.5500 (0.5000 of popularity and 0.05): failed.",
    ),
    "overlap of the champion": (
        {"challenger": RECENT + 0.01, "champion": RECENT, "personal": beyond(champion=figures(jaccard=0.4))},
        "Overlap of two users' ten games: 0.5000, must be at most 0.4500 (0.4000 of champion and 0.05): failed.",
    ),
    "popular ten": (
        {"challenger": RECENT + 0.01, "champion": RECENT, "personal": beyond(challenger=figures(popular_ten=0.34))},
        "Share of users who get the popular ten: 0.3400, must be at most 0.3500 (0.3000 of champion and 0.05): passed.",
    ),
    "popular ten of popularity": (
        {"personal": beyond(challenger=figures(popular_ten=0.36))},
        "Share of users who get the popular ten: 0.3600, must be at most 0.3500 (0.3000 of popularity and 0.05): "
        "failed.",
    ),
    "coverage": (
        {"personal": beyond(challenger=figures(coverage=0.17))},
        "Share of the catalogue that is in any user's ten: 0.1700, must be at least 0.1800 (0.9 × 0.2000 of "
        "popularity): failed.",
    ),
    "coverage of the champion": (
        {"challenger": RECENT + 0.01, "champion": RECENT, "personal": beyond(champion=figures(coverage=0.3))},
        "Share of the catalogue that is in any user's ten: 0.2000, must be at least 0.2700 (0.9 × 0.3000 of "
        "champion): failed.",
    ),
    "slice": (
        {"slices": {"users with 1 review": compared(RECENT - 0.05, EASE=RECENT, champion=RECENT * 0.5)}},
        "NDCG@10 of users with 1 review, challenger minus EASE: -0.0500, must be at least -0.0600 (lower end of the "
        "95 % interval of -0.0500; 0.3 × 0.2000 may be lost): passed.",
    ),
    "worse slice": (
        {"slices": {"users with 1 review": compared(RECENT - 0.07, EASE=RECENT)}},
        "NDCG@10 of users with 1 review, challenger minus EASE: -0.0700, must be at least -0.0600 (lower end of the "
        "95 % interval of -0.0700; 0.3 × 0.2000 may be lost): failed.",
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
    personal = [
        ("Overlap of two users' ten games", PASSED),
        ("Share of users who get the popular ten", PASSED),
        ("Share of the catalogue that is in any user's ten", PASSED),
    ]
    assert [(rule.about, rule.outcome) for rule in verdict.rules] == [
        ("NDCG@10 of all users, challenger minus recent popularity", PASSED),
        *personal,
        ("NDCG@10 of all users, challenger minus champion", PASSED),
        *personal,
        ("Advantages over the champion", PASSED),
        ("NDCG@10 of users with 1 review, challenger minus EASE", PASSED),
        ("NDCG@10 of games of the genre Action", NOT_ENOUGH),
    ]
    assert verdict.passed


def test_a_slice_with_few_users_decides_nothing() -> None:
    slices = {"users with 1 review": compared(RECENT * 0, EASE=RECENT)}
    verdict = decided(slices=slices, thresholds=Thresholds(slice_users=21))
    assert verdict.passed
    assert verdict.sentences[-1] == (
        "NDCG@10 of users with 1 review: 0.0000 (20 of at least 21 users): not enough evidence."
    )
    assert not decided(slices=slices, thresholds=Thresholds(slice_users=20)).passed


def test_a_slice_whose_interval_is_on_both_sides_of_the_margin_decides_nothing() -> None:
    differences = np.tile([0.1, -0.1], 10)
    slices = {"users with 1 review": compared(RECENT + differences - 0.05, EASE=RECENT)}
    verdict = decided(slices=slices)
    assert verdict.rules[-1].outcome == NOT_ENOUGH
    assert verdict.rules[-1].figure < -0.06 < slices["users with 1 review"].differences["EASE"]["ndcg_at_10"].high
    assert verdict.passed


def test_a_slice_without_users_decides_nothing_even_if_none_are_required() -> None:
    verdict = decided(slices={"games not reviewed before": Comparison(0, {}, {})}, thresholds=Thresholds(slice_users=0))
    assert verdict.rules[-1].outcome == NOT_ENOUGH


def test_a_slice_that_nobody_serves_passes() -> None:
    assert decided(slices={"games not reviewed before": compared(RECENT * 0, EASE=RECENT * 0)}).passed


def test_a_tie_passes_except_with_the_champion() -> None:
    assert decided(RECENT).passed
    assert not decided(RECENT, champion=RECENT).passed


@pytest.mark.parametrize(("users", "outcome"), [(100, FAILED), (20_000, PASSED)])
def test_the_whole_interval_of_the_difference_must_be_above_the_margin(users: int, outcome: str) -> None:
    """With level means, it depends on how sure the tie is: on the number of users."""
    random = np.random.default_rng(0)
    baseline = random.random(users)
    challenger = baseline + random.normal(0, 0.3, users)
    challenger += baseline.mean() - challenger.mean()
    comparison = compared(challenger, champion=baseline - 0.1, popularity=baseline)
    verdict = decide(comparison, beyond(), {}, Thresholds())
    assert verdict.rules[0].outcome == outcome
    assert verdict.passed == (outcome == PASSED)
    assert decide(comparison, beyond(), {}, Thresholds(accuracy_margin=0.5)).passed
    without_champion = decide(compared(challenger, popularity=baseline), beyond(), {}, Thresholds())
    assert without_champion.rules[0].outcome == (NOT_ENOUGH if outcome == FAILED else PASSED)
    assert without_champion.passed


def test_a_first_model_that_is_clearly_worse_than_a_baseline_does_not_pass() -> None:
    random = np.random.default_rng(0)
    baseline = random.random(100)
    comparison = compared(baseline + random.normal(0, 0.3, 100) - 0.2, popularity=baseline)
    assert [rule.outcome for rule in decide(comparison, beyond(), {}, Thresholds()).failures] == [FAILED]


@pytest.mark.parametrize(("cost", "promoted"), [(0.009, True), (0.011, False)])
def test_a_more_personal_challenger_may_cost_the_margin(cost: float, promoted: bool) -> None:
    personal = beyond(challenger=figures(jaccard=0.2))
    assert decided(RECENT - cost, champion=RECENT, personal=personal).passed == promoted


ADVANTAGES = {
    "overlap": figures(jaccard=0.44),
    "popular ten": figures(popular_ten=0.24),
    "coverage": figures(coverage=0.23),
}
ALMOST = {
    "overlap": figures(jaccard=0.46),
    "popular ten": figures(popular_ten=0.26),
    "coverage": figures(coverage=0.21),
}


@pytest.mark.parametrize("advantage", ADVANTAGES)
def test_a_level_champion_is_replaced_by_a_more_personal_challenger(advantage: str) -> None:
    assert decided(RECENT, champion=RECENT, personal=beyond(challenger=ADVANTAGES[advantage])).passed
    assert not decided(RECENT, champion=RECENT, personal=beyond(challenger=ALMOST[advantage])).passed


def test_a_more_accurate_challenger_does_not_replace_a_clearly_more_personal_champion() -> None:
    more_personal = beyond(champion=figures(jaccard=0.4))
    assert not decided(RECENT + 0.05, champion=RECENT, personal=more_personal).passed


@pytest.mark.parametrize(
    ("gain", "share", "promoted"), [(0.009, 0.05, False), (0.011, 0.05, True), (-0.001, -0.01, True)]
)
def test_the_gain_over_the_champion_is_a_parameter(gain: float, share: float, promoted: bool) -> None:
    thresholds = Thresholds(champion_gain=share)
    assert decided(RECENT + gain, champion=RECENT, thresholds=thresholds).passed == promoted


@pytest.mark.parametrize("seed", range(20))
def test_the_same_figures_in_another_order_do_not_beat_the_champion(seed: int) -> None:
    """Summed in another order, the same figures may come to another last digit."""
    random = np.random.default_rng(seed)
    champion = 1 / np.log2(random.integers(2, 12, 300))
    comparison = compared(random.permutation(champion), champion, popularity=np.zeros(300))
    verdict = decide(comparison, beyond(), {}, Thresholds(accuracy_margin=1.0))
    assert [rule.about for rule in verdict.failures] == ["Advantages over the champion"]


def test_any_higher_mean_beats_the_champion() -> None:
    assert decided(RECENT + 1e-9, champion=RECENT).passed


@pytest.mark.parametrize("users", [1, 14])
def test_a_few_users_show_nothing(users: int) -> None:
    few = RECENT[:users]
    first = decide(compared(few - 0.1, popularity=few), beyond(), {}, Thresholds())
    assert first.passed  # a small shop gets its first model
    assert first.rules[0].outcome == NOT_ENOUGH
    personal = beyond(challenger=figures(jaccard=0.2))
    replaced = decide(compared(few + 0.1, few, popularity=few), personal, {}, Thresholds())
    assert [str(rule) for rule in replaced.failures] == [
        f"Users on whom the challenger is compared with {opponent}, all users: {users}, must be at least 15: failed."
        for opponent in ("popularity", "champion")
    ]


def test_nan_fails() -> None:
    assert not decided(np.full(len(RECENT), np.nan)).passed
    assert not decided(thresholds=Thresholds(accuracy_margin=np.nan)).passed
    for name in ("jaccard", "popular_ten", "coverage"):
        assert not decided(personal=beyond(challenger=figures(**{name: np.nan}))).passed
    slices = {"users with 1 review": compared(np.full(len(RECENT), np.nan), EASE=RECENT)}
    assert not decided(slices=slices).passed


@pytest.mark.parametrize(
    ("challenger", "jaccard", "sentence"),
    [
        (RECENT * 0.987, 0.44, "12 % less overlap for 1.3 % of NDCG@10."),
        (RECENT * 1.2, 0.48, "4.0 % less overlap and 20 % more NDCG@10."),
        (RECENT * 1.2, 0.6, "20 % more overlap for 20 % more NDCG@10."),
        (RECENT * 0.9, 0.6, "20 % more overlap and 10 % less NDCG@10."),
        (RECENT, 0.4, "20 % less overlap and the same NDCG@10."),
        (RECENT * 0.9, 0.5, "the same overlap and 10 % less NDCG@10."),
    ],
)
def test_a_trade_says_which_way_it_went_and_what_it_cost(
    challenger: Float64Array, jaccard: float, sentence: str
) -> None:
    personal = beyond(challenger=figures(jaccard=jaccard))
    assert describe_trade(overall(challenger), personal, "recent popularity") == (
        f"Compared with recent popularity: {sentence}"
    )


def test_a_trade_with_nothing_to_compare_with_is_no_error() -> None:
    personal = beyond(popularity=figures(jaccard=0.0))
    sentence = describe_trade(compared(RECENT, popularity=RECENT * 0), personal, "popularity")
    assert sentence == "Compared with popularity: overlap 0.5000 against 0.0000, NDCG@10 0.2000 against 0.0000."
    nothing = beyond(challenger=figures(jaccard=0.0), popularity=figures(jaccard=0.0))
    sentence = describe_trade(compared(RECENT, popularity=RECENT), nothing, "popularity")
    assert sentence == "Compared with popularity: the same overlap and the same NDCG@10."


def test_the_inputs_are_not_changed() -> None:
    comparison, personal, slices = overall(RECENT, RECENT), beyond(), {"a": overall(RECENT)}
    decide(comparison, personal, slices, Thresholds())
    assert comparison == overall(RECENT, RECENT)
    assert personal == beyond()
    assert slices == {"a": overall(RECENT)}

import numpy as np
import pytest

from components.evaluate.gate import decide

RECENT = np.array([0.1, 0.3, 0.2, 0.2])
POPULAR = RECENT - 0.05
BASELINES = {"popularity": POPULAR, "recent popularity": RECENT}


def test_a_first_model_that_beats_the_baselines_is_promoted() -> None:
    verdict = decide(RECENT + 0.01, BASELINES, None)
    assert verdict.promote
    assert verdict.reasons == (
        "NDCG@10 0.2100 is not worse than 0.2000 of the best baseline, recent popularity "
        "(difference +0.0100 ± 0.0000).",
    )


def test_equal_is_enough() -> None:
    assert decide(RECENT, BASELINES, RECENT).promote


def test_a_model_that_is_worse_for_every_user_is_refused_however_little() -> None:
    verdict = decide(RECENT - 0.001, BASELINES, None)
    assert not verdict.promote
    assert verdict.reasons == (
        "NDCG@10 0.1990 is worse than 0.2000 of the best baseline, recent popularity (difference -0.0010 ± 0.0000).",
    )


def test_a_shortfall_within_one_standard_error_of_the_difference_is_a_tie() -> None:
    differences = np.array([0.1, -0.1, 0.1, -0.1])  # standard error 0.0577
    assert decide(RECENT + differences - 0.05, BASELINES, None).promote
    assert not decide(RECENT + differences - 0.06, BASELINES, None).promote


def test_a_model_below_the_champion_is_refused_though_it_beats_the_baselines() -> None:
    verdict = decide(RECENT + 0.01, BASELINES, RECENT + 0.02)
    assert [rule.passed for rule in verdict.rules] == [True, False]
    assert not verdict.promote


def test_against_the_champion_no_chance_is_granted() -> None:
    shortfall = np.array([0.1, -0.1, 0.1, -0.11])
    assert decide(RECENT + shortfall, BASELINES, None).promote
    assert not decide(RECENT + shortfall, BASELINES, RECENT).promote


def test_a_single_user_has_no_error_to_hide_behind() -> None:
    one = {name: figures[:1] for name, figures in BASELINES.items()}
    assert decide(RECENT[:1], one, None).promote
    assert not decide(RECENT[:1] - 0.01, one, None).promote


def test_a_figure_that_is_not_a_number_is_refused() -> None:
    assert not decide(np.full(4, np.nan), BASELINES, None).promote


def test_the_inputs_are_not_changed() -> None:
    challenger = RECENT.copy()
    decide(challenger, {"popularity": POPULAR.copy()}, RECENT)
    assert challenger == pytest.approx(RECENT)

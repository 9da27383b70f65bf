"""The choice of the most personal setting that is level in accuracy."""

from dataclasses import replace

import numpy as np
import pytest

from components.train.choice import Setting, is_clearly_better, is_level, most_personal
from components.train.two_tower_model import ModelConfig

USERS = 400
CONFIG = ModelConfig()
BUDGET = 0.025


def setting(mean: float, concentration: float, spread: float = 1.0) -> Setting:
    noise = np.random.default_rng(0).standard_normal(USERS)
    return Setting(
        CONFIG, mean + spread * (noise - noise.mean()) / noise.std(ddof=1), concentration, 10 / concentration
    )


def test_the_least_similar_pages_win_among_settings_that_are_level_with_the_best() -> None:
    best, level, personal = setting(0.4, 0.9), setting(0.395, 0.5), setting(0.38, 0.1)
    assert most_personal([best, level, personal], BUDGET) is level


def test_the_more_accurate_of_two_equally_personal_settings_wins() -> None:
    settings = [setting(0.396, 0.5), setting(0.399, 0.5), setting(0.4, 0.6)]
    assert most_personal(settings, BUDGET) is settings[1]


def test_a_loss_that_hardly_makes_pages_less_similar_is_not_taken() -> None:
    best = setting(0.4, 0.055)
    assert most_personal([best, setting(0.398, 0.047)], BUDGET) is best  # half a per cent for 0.8 percentage points
    cheap = setting(0.398, 0.043)  # the same for 1.2
    assert most_personal([best, cheap], BUDGET) is cheap


def test_of_two_settings_with_the_same_overlap_the_one_that_shows_more_games_wins() -> None:
    narrow = setting(0.4, 0.5)
    wide = replace(setting(0.399, 0.5), effective_games=narrow.effective_games + 1)
    assert most_personal([narrow, wide], BUDGET) is wide


def test_a_thousand_games_that_few_users_see_do_not_pay_for_accuracy() -> None:
    varied = replace(setting(0.4, 0.1), effective_games=700.0)
    more_varied = replace(setting(0.398, 0.1), effective_games=1_500.0)
    assert most_personal([varied, more_varied], BUDGET) is varied


def test_a_budget_of_nothing_takes_the_most_accurate_setting() -> None:
    best, nearly = setting(0.4, 0.9), setting(0.3999, 0.1)
    assert most_personal([nearly, best], 0.0) is best


@pytest.mark.parametrize(("loss", "spread", "level"), [(0.009, 1.0, True), (0.011, 1.0, False), (0.009, 0.1, False)])
def test_a_level_setting_is_within_the_budget_and_one_standard_error(loss: float, spread: float, level: bool) -> None:
    """The budget is 0.01; the standard error of the mean is 0.05 or 0.005."""
    assert is_level(setting(0.4 - loss, 0.1, spread), setting(0.4, 0.9, spread), BUDGET) is level


def test_a_loss_counts_with_a_standard_error_of_its_difference() -> None:
    best = setting(0.4, 0.9)
    noise = np.random.default_rng(1).standard_normal(USERS)
    noise -= noise.mean()
    assert is_level(Setting(CONFIG, best.ndcg - 0.009 + 0.01 * noise, 0.1, 0.0), best, BUDGET)
    assert not is_level(Setting(CONFIG, best.ndcg - 0.009 + 0.04 * noise, 0.1, 0.0), best, BUDGET)


def test_a_single_user_gives_no_standard_error_and_so_no_budget() -> None:
    assert not is_level(Setting(CONFIG, np.array([0.4]), 0.1, 0.0), Setting(CONFIG, np.array([0.4]), 0.9, 0.0), BUDGET)


@pytest.mark.parametrize(
    ("gain", "candidates", "better"),
    [(2.2, 1, True), (1.5, 1, False), (-2.2, 1, False), (2.2, 10, False), (3.0, 10, True)],
)
def test_a_setting_is_clearly_better_only_if_the_interval_of_its_gain_is_above_zero(
    gain: float, candidates: int, better: bool
) -> None:
    """Gains in standard errors: one candidate needs 1.96, the best of ten 2.81."""
    noise = np.random.default_rng(0).standard_normal(USERS)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    plain = Setting(CONFIG, np.full(USERS, 0.5), 0.9, 0.0)
    refined = Setting(CONFIG, 0.5 + 0.01 * (noise + gain / np.sqrt(USERS)), 0.9, 0.0)
    assert is_clearly_better(refined, plain, candidates) is better

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from components.train import learning
from components.train.model import Config
from components.train.trainer import Trainer
from components.train.tuning import _refined, _Tried
from components.train.workers import Workers
from steam_recsys.evaluation.splits import by_time
from tests.components.train.checkerboard import catalogue, checkerboard, interactions

QUICK = Config(dimensions=8, scale=4.0, min_steps=4, trial_steps=4)
PAST = interactions(checkerboard())


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The users of each ranking that is looked at in choosing."""
    users: list[np.ndarray] = []
    measure = learning.measure

    def watched(ranker, held_out, metrics):
        users.append(held_out.history.users)
        return measure(ranker, held_out, metrics)

    monkeypatch.setattr(learning, "measure", watched)
    return users


def learn(config: Config) -> learning.Learned:
    validation = by_time(PAST, int(np.quantile(PAST.days, 0.8)))
    trainer = Trainer(0, Workers(tf.distribute.get_strategy(), 0, 1))
    return learning.learn(PAST, validation, catalogue(), config, trainer, "v")[0]


def test_a_choice_is_made_on_everybody_where_they_are_few(looked_at: list[np.ndarray]) -> None:
    learn(QUICK)
    assert len(looked_at) > 2
    assert all(len(users) > 60 for users in looked_at)


def test_of_many_users_the_same_sample_decides_every_choice(looked_at: list[np.ndarray]) -> None:
    learn(replace(QUICK, choice_users=30))
    assert {tuple(users) for users in looked_at} == {tuple(looked_at[0])}
    assert len(set(looked_at[0])) == 30


def tried(figures: np.ndarray) -> _Tried:
    return _Tried(QUICK, None, figures)


@pytest.mark.parametrize(
    ("gain", "others", "taken"), [(2.2, 0, True), (1.5, 0, False), (-2.2, 0, False), (2.2, 9, False), (3.0, 9, True)]
)
def test_a_refinement_is_taken_only_where_the_interval_of_its_gain_is_above_zero(
    gain: float, others: int, taken: bool
) -> None:
    """Gains of so many standard errors: 1.96 are asked of one candidate, 2.81 of the best of ten."""
    noise = np.random.default_rng(0).standard_normal(400)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    plain, refined = tried(np.full(400, 0.5)), tried(0.5 + 0.01 * (noise + gain / np.sqrt(400)))
    worse = [tried(np.full(400, 0.4))] * others
    assert (_refined(plain, [refined, *worse], "links") is refined) == taken


def test_what_is_level_to_the_last_digit_leaves_the_simplest() -> None:
    plain, same = tried(np.full(400, 0.5)), tried(np.full(400, 0.5))
    assert _refined(plain, [same, same], "hours") is plain

"""The gate: whether a challenger becomes champion. A pure function of what was measured and of thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from components.evaluate.thresholds import Thresholds
from steam_recsys.evaluation.comparison import CHALLENGER, CHAMPION, POPULARITY, Comparison
from steam_recsys.evaluation.metrics import METRIC

PASSED, FAILED, NOT_ENOUGH = "passed", "failed", "not enough evidence"


@dataclass(frozen=True)
class Rule:
    """A demand on the challenger, and how it came out.

    Attributes:
        about: the figure, in words.
        figure: the challenger's.
        floor: the least that passes.
        reason: where the floor comes from, with its numbers.
        enough: whether there is enough evidence for a decision.
        above: whether the figure must be above the floor, and the floor itself does not pass.
    """

    about: str
    figure: float
    floor: float
    reason: str
    enough: bool = True
    above: bool = False

    @property
    def asked(self) -> str:
        """What passes, in words."""
        return f"{'more than' if self.above else 'at least'} {self.floor:.4f}"

    @property
    def outcome(self) -> str:
        """How it came out; a figure that is not a number fails."""
        if not self.enough:
            return NOT_ENOUGH
        passed = self.figure > self.floor if self.above else self.figure >= self.floor
        return PASSED if passed else FAILED

    @property
    def sentence(self) -> str:
        """The rule and how it came out, with its numbers."""
        asked = f", {self.asked} is asked for" if self.enough else ""
        return f"{self.about} is {self.figure:.4f}{asked} ({self.reason}): {self.outcome}."


@dataclass(frozen=True)
class Verdict:
    """The decision and all rules that it follows from."""

    promote: bool
    rules: tuple[Rule, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence a rule."""
        return tuple(rule.sentence for rule in self.rules)

    @property
    def failures(self) -> tuple[Rule, ...]:
        """The rules that failed."""
        return tuple(rule for rule in self.rules if rule.outcome == FAILED)


def decide(
    overall: Comparison, coverage: Mapping[str, float], slices: Mapping[str, Comparison], thresholds: Thresholds
) -> Verdict:
    """Promote if no rule fails: against the best baseline, against the champion, of coverage, and on each slice.

    Against a baseline a tie is enough. What is a tie is measured, not set: the users' figures are compared pair by
    pair, as in a paired test, and the challenger may fall short by some standard errors of the mean difference.

    A champion is to be beaten: by a mean above its own, unless the thresholds ask for more or less. Of two that are
    level the champion stays. Where there is none, or it is this very model, as a training that is repeated makes it
    again, there is nobody to beat: promoting it then leaves the pointer where it is, and completes what an interrupted
    promotion left undone.

    On a slice the challenger must reach a share of a baseline's figure, so that what is gained on the whole is not paid
    for by a few. Slices with few users decide nothing.

    Args:
        overall: the rankings on all users that are asked for, at least one, and with at least one baseline.
        coverage: the rankings' coverage of the catalogue.
        slices: by name in words, each with the challenger and one baseline.
        thresholds: what is asked for.
    """
    rules = [_against_baseline(overall, thresholds)]
    if CHAMPION in overall.figures:
        rules.append(_against_champion(overall, thresholds))
    rules.append(_coverage(coverage, thresholds))
    rules += _on_slices(slices, thresholds)
    return Verdict(all(rule.outcome != FAILED for rule in rules), tuple(rules))


def _against_baseline(overall: Comparison, thresholds: Thresholds) -> Rule:
    rival = overall.best_baseline(METRIC.name)
    return _rule("NDCG@10 of all users", overall, rival, f"the best baseline, {rival}", thresholds.baseline_errors)


def _against_champion(overall: Comparison, thresholds: Thresholds) -> Rule:
    rule = _rule("NDCG@10 of all users", overall, CHAMPION, "the champion", thresholds.champion_errors)
    return replace(rule, above=True)


def _rule(about: str, comparison: Comparison, rival: str, of: str, errors: float, share: float = 1.0) -> Rule:
    figure, theirs = (comparison.figures[name][METRIC.name].mean for name in (CHALLENGER, rival))
    error = comparison.differences[rival][METRIC.name].error
    less = f", less {errors:g} × {error:.4f}, the difference's standard error" if errors else ""
    reason = f"{f'{share:g} × ' if share != 1 else ''}{theirs:.4f} of {of}{less}"
    return Rule(about, figure, share * theirs - errors * error, reason)


def _coverage(coverage: Mapping[str, float], thresholds: Thresholds) -> Rule:
    share, popularity = thresholds.coverage_floor, coverage[POPULARITY]
    reason = f"{share:g} × {popularity:.4f} of {POPULARITY}"
    return Rule("The share of the catalogue that is recommended", coverage[CHALLENGER], share * popularity, reason)


def _on_slices(slices: Mapping[str, Comparison], thresholds: Thresholds) -> Iterator[Rule]:
    for name, comparison in slices.items():
        about, users = f"NDCG@10 of {name}", comparison.users
        if not users or users < thresholds.slice_users:
            figure = comparison.figures[CHALLENGER][METRIC.name].mean if users else 0.0
            yield Rule(about, figure, 0.0, f"{users:,} of at least {thresholds.slice_users:,} users", enough=False)
        else:
            rival = comparison.best_baseline(METRIC.name)
            yield _rule(about, comparison, rival, rival, thresholds.baseline_errors, thresholds.slice_floor)

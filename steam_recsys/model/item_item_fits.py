"""Fits of item-item weights: how much having one game adds to the score of another, learned from histories.

There are three kinds: `Regression` (EASE, DLAE), `ItemKNN` (item-kNN) and `Transitions` (from a user's recent games
to the next ones). The training takes the model's item-item weights from here, and the evaluation its baselines. Up to
`EASE_MAX_GAMES` games, a regression is exact; in a larger catalogue, each game has a regression on its neighbourhood,
the games that predict it best, each taken alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.linalg.lapack import sposv, spotrf, spotri
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from steam_recsys.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array, offsets_from_lengths
from steam_recsys.data.histories import Histories
from steam_recsys.model.item_item import ItemItemWeights, recent_weights

EASE_MAX_GAMES = 8_000
"""The largest catalogue whose regressions are exact: its square takes 256 MB, the inversion three times that and twenty
seconds on two cores."""

MAX_PAIRS = 100_000_000
"""Pairs of games in the same history that are counted in a larger catalogue, at most, and pairs of recent games for
`transitions` in any catalogue: their sparse matrix takes up to 0.8 GB. If there are more, a sample of the users is
counted."""

MAX_HISTORY = 500
"""Newest games of a history that are counted then: longer ones are mostly those of collectors and of bots."""

NEIGHBOURHOOD = 100
"""Other games that a game's regression is restricted to in a large catalogue."""

CHOOSING_REGULARISATION = 100.0
"""λ with which the games of a neighbourhood are chosen for several regressions together."""

DENSE_GAMES = 8_000
"""Games of a large catalogue with the most entries, whose part of the Gram matrix is kept dense: 256 MB."""

BLOCK_ENTRIES = 1 << 22
"""Entries of a sparse matrix that are handled at a time."""

FIRST = 1e30
"""Above every gain."""

NEXT_TARGETS = 5
"""Games after a point in a history that its recent games are to predict."""


@dataclass(frozen=True)
class ItemItemData:
    """What item-item weights are learned from.

    Attributes:
        histories: The games that users recommend, each user's in the order of time, as positions of the catalogue.
        n_games: Size of the catalogue.
    """

    histories: Histories
    n_games: int

    @cached_property
    def counted(self) -> Histories:
        """The histories whose pairs of games are counted: all of them in a catalogue of up to `EASE_MAX_GAMES` games.

        In a larger one, at most the newest `MAX_HISTORY` games of a history count, and at most `MAX_PAIRS` pairs: of
        more, those of users drawn at random, the same ones each time.
        """
        if self.n_games <= EASE_MAX_GAMES:
            return self.histories
        newest = self.histories.newest(MAX_HISTORY)
        return newest.take(_within(newest.lengths.astype(np.int64) ** 2, MAX_PAIRS))

    @cached_property
    def counts(self) -> csr_matrix:
        """The users who have both of two games, float32 [n_games, n_games]; the diagonal counts a game's users."""
        if self.n_games <= EASE_MAX_GAMES:
            return csr_matrix(self.dense_counts)
        matrix = user_game_matrix(self.counted, self.n_games)
        counts = (matrix.T @ matrix).tocsr()
        counts.sort_indices()
        return counts

    @cached_property
    def dense_counts(self) -> Float32Array:
        """The same as a dense array, for a catalogue of up to `EASE_MAX_GAMES` games."""
        return cooccurrences(self.histories, self.n_games)


class ItemItemKind(Protocol):
    """A kind of item-item weights with its settings."""

    def fit(self, data: ItemItemData, per_game: int) -> ItemItemWeights:
        """Fit the weights, and keep the largest `per_game` ones of each game."""


@dataclass(frozen=True)
class Regression:
    """Ridge regression of each game on all others: EASE without dropout, DLAE with it, see `ease` and `dlae`.

    Attributes:
        dropout: p, from 0 to below 1.
        regularisation: λ.
    """

    dropout: float = 0.0
    regularisation: float = 300.0

    def fit(self, data: ItemItemData, per_game: int) -> ItemItemWeights:
        """See `ItemItemKind.fit`."""
        if data.n_games <= EASE_MAX_GAMES:
            return ItemItemWeights.from_matrix(self.exact(data.dense_counts), per_game)
        counts, with_itself = data.counts, self.dropout > 0
        return neighbourhood_regression(counts, counts, self.penalties(counts), per_game, with_itself=with_itself)

    def exact(self, counts: Float32Array) -> Float32Array:
        """Return all weights, float32 [N, N], from the co-occurrence counts of a small catalogue, float32 [N, N]."""
        return dlae(counts, self.dropout, self.regularisation) if self.dropout else ease(counts, self.regularisation)

    def penalties(self, counts: csr_matrix) -> Float64Array:
        """Return the diagonal of Λ of `dlae`, float64 [n_games], which is λ without dropout."""
        penalties: Float64Array = self.dropout / (1 - self.dropout) * counts.diagonal() + self.regularisation
        return penalties


@dataclass(frozen=True)
class ItemKNN:
    """Item-kNN by the asymmetric cosine, with shrinkage.

        w(i, j) = c(i, j) / (c(i)^(1 - α) c(j)^α + shrinkage)

    where c counts users. With α = 1/2 it is the cosine; a larger α favours rare games j (Aiolli 2013, "Efficient Top-N
    Recommendation for Very Large Scale Binary Rated Datasets", section 3.2). Shrinkage lowers the weights of games that
    few users have in common.

    Attributes:
        exponent: α, from 0 to 1.
        shrinkage: Shrinkage, in users.
    """

    exponent: float = 0.5
    shrinkage: float = 10.0

    def fit(self, data: ItemItemData, per_game: int) -> ItemItemWeights:
        """Fit the weights, and keep the largest `per_game` ones of each game that may be recommended.

        A game's score is the sum over its nearest games that a user has, as in Sarwar et al. 2001, "Item-Based
        Collaborative Filtering Recommendation Algorithms", section 3.2: otherwise frequent games have many weights.
        """
        users = data.counts.diagonal().astype(np.float64)
        owned, recommended = users ** (1 - self.exponent), users**self.exponent

        def weigh(target: Int64Array, source: Int32Array, counts: Float32Array) -> Float32Array:
            weights: Float32Array = counts / (owned[source] * recommended[target] + self.shrinkage)
            return weights

        return largest_of_targets(data.counts, weigh, per_game)


@dataclass(frozen=True)
class Transitions:
    """Ridge regression of the next games of a history on its recent ones.

    For each point in each history, the games before it, weighted (1 + age)^-recency, predict the `NEXT_TARGETS` games
    that follow: B = (S'S + λI)⁻¹ S'T (SLIT in Choi et al. 2021, "Session-aware Linear Item-Item Models for
    Session-based Recommendation", section 4.2). Unlike the other kinds, it has a direction: from earlier games to later
    ones.

    Attributes:
        recency: Exponent of the age, in later games. Serve the weights with the same one.
        regularisation: λ.
    """

    recency: float = 1.0
    regularisation: float = 300.0

    def fit(self, data: ItemItemData, per_game: int) -> ItemItemWeights:
        """See `ItemItemKind.fit`."""
        gram, following = transitions(data.histories, data.n_games, self.recency)
        if data.n_games <= EASE_MAX_GAMES:
            dense = gram.toarray()
            dense[np.diag_indices(len(dense))] += np.float32(self.regularisation)
            matrix = inverse(dense) @ following.toarray()
            np.fill_diagonal(matrix, 0)
            return ItemItemWeights.from_matrix(matrix, per_game)
        penalties = np.full(data.n_games, self.regularisation)
        return neighbourhood_regression(gram, following, penalties, per_game, with_itself=True)


def ease(counts: Float32Array, regularisation: float) -> Float32Array:
    """Return the item-item weights of EASE, float32 [N, N] with a zero diagonal.

    Each user's history is reconstructed from the user's other games with the weights

        B = I - P / diag(P), where P = (X'X + λI)⁻¹

    (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", equation 8).

    Args:
        counts: Co-occurrence counts from `cooccurrences`, float32 [N, N].
        regularisation: λ.

    Returns:
        What owning game i (row) adds to the score of game j (column).
    """
    gram = counts.copy()
    gram[np.diag_indices(len(gram))] += np.float32(regularisation)
    weights = inverse(gram)
    weights /= -np.diag(weights)
    np.fill_diagonal(weights, 0)
    return weights


def dlae(counts: Float32Array, dropout: float, regularisation: float) -> Float32Array:
    """Return the item-item weights of DLAE, float32 [N, N] with a zero diagonal.

    Each user's history is reconstructed from what dropout leaves of it, with the weights

        B = (X'X + Λ)⁻¹ X'X = I - (X'X + Λ)⁻¹ Λ, where Λ = p / (1 - p) diag(X'X) + λI

    (Steck 2020, "Autoencoders that don't overfit towards the Identity", section 3.2). The diagonal plays no part, as
    users are not recommended games that they have.

    Args:
        counts: Co-occurrence counts from `cooccurrences`, float32 [N, N].
        dropout: p, between 0 and 1.
        regularisation: λ.

    Returns:
        What owning game i (row) adds to the score of game j (column).
    """
    gram = counts.copy()
    penalties = (dropout / (1 - dropout) * np.diag(counts) + regularisation).astype(np.float32)
    gram[np.diag_indices(len(gram))] += penalties
    weights = inverse(gram)
    weights *= -penalties
    np.fill_diagonal(weights, 0)
    return weights


def inverse(matrix: Float32Array) -> Float32Array:
    """Invert a positive definite matrix, float32 [N, N], by its Cholesky factor; the matrix may be overwritten.

    Raises:
        ValueError: The matrix is not positive definite.
    """
    if not len(matrix):
        return matrix
    factor, failed = spotrf(matrix.T, overwrite_a=True)  # its transpose, as LAPACK's arrays are in column order
    if not failed:
        found, failed = spotri(factor, overwrite_c=True)
    if failed:
        raise ValueError(f"The matrix of {len(matrix):,} games cannot be inverted: it is not positive definite.")
    upper: Float32Array = np.triu(found)
    upper += np.triu(upper, 1).T
    return upper


def cooccurrences(histories: Histories, n_games: int) -> Float32Array:
    """Count the users who have both of two games, float32 [n_games, n_games]; the diagonal counts a game's users."""
    matrix = user_game_matrix(histories, n_games)
    by_game = matrix.T.tocsr()
    counts = np.empty((n_games, n_games), dtype=np.float32)
    step = max(1, BLOCK_ENTRIES // max(1, n_games))
    for first in range(0, n_games, step):
        counts[first : first + step] = (by_game[first : first + step] @ matrix).toarray()
    return counts


def transitions(histories: Histories, n_games: int, recency: float) -> tuple[csr_matrix, csr_matrix]:
    """Sum the recent games before each point of each history, and the next games after it, over all points.

    Args:
        histories: Histories in the order of time.
        n_games: Size of the catalogue.
        recency: Exponent of the age.

    Returns:
        S'S and S'T, sparse float32 [n_games, n_games]: row i of S has the weights of the recent games before point i,
        and row i of T is 1 for the `NEXT_TARGETS` games that follow it. At most the newest `MAX_HISTORY` games of a
        history count, and at most `MAX_PAIRS` pairs of recent games: of more, those of users drawn at random.
    """
    weights = recent_weights(recency)
    newest = histories.newest(MAX_HISTORY)
    pairs = np.cumsum(np.minimum(np.arange(MAX_HISTORY + 1), len(weights)) ** 2)[np.maximum(newest.lengths - 1, 0)]
    newest = newest.take(_within(pairs, MAX_PAIRS))
    starts, ends = (np.repeat(bounds, newest.lengths) for bounds in (newest.offsets[:-1], newest.offsets[1:]))
    recent = [(-age - 1, weight) for age, weight in enumerate(weights.tolist())]
    before = _games_around(newest.games, n_games, recent, starts, ends)
    after = _games_around(newest.games, n_games, [(step, 1.0) for step in range(NEXT_TARGETS)], starts, ends)
    gram, following = (before.T @ before).tocsr(), (before.T @ after).tocsr()
    for found in (gram, following):
        found.sort_indices()
    return gram, following


def _games_around(
    games: Int32Array, n_games: int, steps: list[tuple[int, float]], starts: Int64Array, ends: Int64Array
) -> csr_matrix:
    """Return the games at some steps from each of n points, weighted, float32 [n, n_games].

    Args:
        games: int32 [n].
        n_games: Size of the catalogue.
        steps: Number of games from a point to each of its games, negative for earlier ones, and the weight there.
        starts: int64 [n], the first point of each point's history.
        ends: int64 [n], the point after the last one of it.
    """
    shifts = np.array([shift for shift, _ in steps])
    weights = np.array([weight for _, weight in steps], dtype=np.float32)
    lengths = [np.zeros(0, dtype=np.int64)]
    columns, values = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.float32)]
    block = max(1, BLOCK_ENTRIES // len(steps))
    for first in range(0, len(games), block):
        rows = slice(first, min(first + block, len(games)))
        positions = np.arange(rows.start, rows.stop)[:, None] + shifts
        kept = (positions >= starts[rows, None]) & (positions < ends[rows, None])
        lengths.append(kept.sum(axis=1))
        columns.append(games[positions[kept]])
        values.append(np.broadcast_to(weights, kept.shape)[kept])
    offsets = offsets_from_lengths(np.concatenate(lengths))
    return csr_matrix((np.concatenate(values), np.concatenate(columns), offsets), shape=(len(games), n_games))


def fit_regressions(kinds: Sequence[Regression], data: ItemItemData) -> list[ItemItemWeights]:
    """Fit several regressions in one pass over a large catalogue, on the same neighbourhoods, and keep all weights.

    To find each neighbourhood and to read its part of the counts takes as long as to solve seven regressions on it.
    """
    return neighbourhood_regressions(
        data.counts,
        data.counts,
        np.array([kind.penalties(data.counts) for kind in kinds]),
        np.array([kind.dropout > 0 for kind in kinds]),
        np.full(data.n_games, CHOOSING_REGULARISATION),
    )


def neighbourhood_regression(
    gram: csr_matrix, cross: csr_matrix, penalties: Float64Array, per_game: int, *, with_itself: bool
) -> ItemItemWeights:
    """Make a single one of `neighbourhood_regressions`, and keep the largest `per_game` weights of each predictor."""
    (found,) = neighbourhood_regressions(gram, cross, penalties[None], np.array([with_itself]), penalties)
    return found.largest(per_game)


def neighbourhood_regressions(
    gram: csr_matrix, cross: csr_matrix, penalties: Float64Array, with_itself: BoolArray, choosing: Float64Array
) -> list[ItemItemWeights]:
    """Regress each game on the `NEIGHBOURHOOD` games that predict it best, with each of S sets of penalties.

        b(j) = (G + Λ)⁻¹ c(j), restricted to the neighbourhood of j

    where G is the Gram matrix of the predictors and c(j) their products with game j. A game's neighbourhood has the
    games with the largest c(i, j)² / (G(i, i) + Λ(i)), which is what each alone would explain. (For EASE, this is SLIM
    on neighbourhoods without the L1 penalty: Ning and Karypis 2011, "SLIM", section 4.3, feature selection.)

    Args:
        gram: G, sparse float32 [N, N].
        cross: c, sparse float32 [N, N]; column j belongs to game j.
        penalties: The diagonals of Λ, floats [S, N].
        with_itself: Whether a game is among its own predictors, bool [S]; the weight is dropped in the end.
        choosing: The diagonal of Λ that chooses the neighbourhoods, floats [N].

    Returns:
        The weights with each set of penalties.

    Raises:
        ValueError: A regression has no solution, because its penalties are too small.
    """
    by_target = cross if cross is gram else cross.T.tocsr()  # a Gram matrix is symmetric
    n_games, sizes, parts_of = gram.shape[0], 1 / np.sqrt(gram.diagonal() + choosing), _GramParts(gram)
    targets, sources = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int32)]
    values = [np.zeros((len(penalties), 0), dtype=np.float32)]
    for first, last in _row_blocks(by_target.indptr):
        block = by_target[first:last]
        gains = csr_matrix((block.data * sizes[block.indices], block.indices, block.indptr), shape=block.shape)
        own = np.arange(last - first), np.arange(first, last)
        gains = gains + csr_matrix((np.full(last - first, FIRST), own), shape=block.shape)
        rows = np.repeat(own[0], np.diff(gains.indptr))
        nearest = largest_of_rows(rows, gains.indices, gains.data.astype(np.float32), last - first, NEIGHBOURHOOD + 1)
        with threadpool_limits(1, "blas"):  # many small systems: several threads wait for each other
            found = _solve_neighbourhoods(parts_of, block, penalties, with_itself, nearest, first)
        rows = np.repeat(own[1].astype(np.int32), np.diff(nearest.offsets))
        kept = rows != nearest.games
        targets.append(rows[kept])
        sources.append(nearest.games[kept])
        values.append(found[:, kept])
    source, target = np.concatenate(sources), np.concatenate(targets)
    order = np.argsort(source, kind="stable")
    offsets, games = offsets_from_lengths(np.bincount(source, minlength=n_games)), target[order]
    return [
        ItemItemWeights(offsets, games, np.concatenate([part[number] for part in values])[order])
        for number in range(len(penalties))
    ]


class _GramParts:
    """Reads small parts of a Gram matrix; those of its most frequent games, whose rows are long, from a dense copy."""

    def __init__(self, gram: csr_matrix) -> None:
        frequent = np.argsort(-np.diff(gram.indptr), kind="stable")[:DENSE_GAMES]
        self._gram, self._dense = gram, gram[frequent][:, frequent].toarray()
        self._dense_rows = np.full(gram.shape[0], -1, dtype=np.int64)
        self._dense_rows[frequent] = np.arange(len(frequent))
        self._column_of = np.full(gram.shape[0], -1, dtype=np.int64)

    def read(self, games: Int32Array) -> Float32Array:
        """Return the products of n games with each other, float32 [n, n]."""
        part = np.zeros((len(games), len(games)), dtype=np.float32)
        dense_rows = self._dense_rows[games]
        frequent, others = np.flatnonzero(dense_rows >= 0), np.flatnonzero(dense_rows < 0)
        part[np.ix_(frequent, frequent)] = self._dense[np.ix_(dense_rows[frequent], dense_rows[frequent])]
        self._column_of[games] = np.arange(len(games))
        source, entries = _entries(self._gram.indptr, games[others])
        column = self._column_of[self._gram.indices[entries]]
        self._column_of[games] = -1
        inside = np.flatnonzero(column >= 0)
        row, column, products = others[source[inside]], column[inside], self._gram.data[entries[inside]]
        part[row, column] = products
        part[column, row] = products
        return part


def _solve_neighbourhoods(
    gram: _GramParts,
    cross: csr_matrix,
    penalties: Float64Array,
    with_itself: BoolArray,
    nearest: ItemItemWeights,
    first: int,
) -> Float32Array:
    """Solve the regressions of some games.

    Args:
        gram: The Gram matrix.
        cross: The products of the predictors with the games, sparse float32 [games, N].
        penalties: floats [S, N].
        with_itself: bool [S].
        nearest: The neighbourhood of each game, with the game itself; its n weights are ignored.
        first: Number of the first game.

    Returns:
        The weights from each predictor, float32 [S, n].
    """
    values = np.zeros((len(penalties), len(nearest.games)), dtype=np.float32)
    lengths = np.diff(nearest.offsets)
    for game in np.flatnonzero(lengths > 1).tolist():
        chosen = slice(nearest.offsets[game], nearest.offsets[game + 1])
        games = nearest.games[chosen]
        part, products = gram.read(games), np.zeros(len(games), dtype=np.float32)
        own = slice(cross.indptr[game], cross.indptr[game + 1])
        index = np.searchsorted(games, cross.indices[own])
        inside = games[np.minimum(index, len(games) - 1)] == cross.indices[own]
        products[index[inside]] = cross.data[own][inside]
        itself, others = int(np.searchsorted(games, first + game)), np.ones(len(games), dtype=np.float32)
        others[itself] = 0
        diagonal = np.arange(len(games))
        for number, penalty in enumerate(penalties[:, games]):
            left, right = part.copy(), products
            if not with_itself[number]:
                left *= others
                left *= others[:, None]
                right = products * others
            left[diagonal, diagonal] += penalty
            # By Cholesky factors, one after the other: a stack of them takes np.linalg.solve four times as long.
            _, values[number, chosen], failed = sposv(left.T, right, overwrite_a=True)
            if failed:
                raise ValueError(f"The regression of game {first + game} has no solution: its penalties are too small.")
    return values


def _entries(offsets: Int64Array, rows: Int32Array) -> tuple[Int64Array, Int64Array]:
    """Return for each entry of some rows of a sparse matrix the index into `rows` and the index of the entry."""
    starts = offsets[rows].astype(np.int64)
    lengths = offsets[rows + 1] - starts
    source = np.repeat(np.arange(len(rows)), lengths)
    return source, np.arange(len(source)) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)


def summed(tables: Sequence[ItemItemWeights], n_games: int) -> ItemItemWeights:
    """Add several tables of `n_games` games; the sum is sparse too, and takes no more memory than the tables.

    Example:
        >>> one = ItemItemWeights.from_matrix(np.array([[0, 1], [2, 0]], dtype=np.float32), 1)
        >>> summed([one, one], 2).weights.tolist()
        [2.0, 4.0]
    """
    filled = [table for table in tables if len(table.games)]
    if len(filled) <= 1:
        return filled[0] if filled else ItemItemWeights.empty(n_games)
    found = csr_matrix((n_games, n_games), dtype=np.float32)
    for table in filled:
        found = found + as_matrix(table)
    found.sort_indices()
    return ItemItemWeights(found.indptr.astype(np.int64), found.indices.astype(np.int32), found.data)


def as_matrix(weights: ItemItemWeights) -> csr_matrix:
    """Return item-item weights as a matrix, float32 [N, N], that shares their memory."""
    n_games = len(weights.offsets) - 1
    return csr_matrix((weights.weights, weights.games, weights.offsets), shape=(n_games, n_games))


def largest_of_targets(
    counts: csr_matrix, weigh: Callable[[Int64Array, Int32Array, Float32Array], Float32Array], per_game: int
) -> ItemItemWeights:
    """Weigh the entries of a symmetric matrix, and keep the largest weights to each game.

    Args:
        counts: Sparse float32 [N, N].
        weigh: Computes the weights of n entries, floats [n], from the games that they lead to, int64 [n], those that
            they come from, int32 [n], and their values, float32 [n].
        per_game: Number of weights to keep; a game has none to itself.

    Returns:
        The weights from the game of a row to those of its entries.
    """
    parts = []
    for first, last in _row_blocks(counts.indptr):
        entries = slice(counts.indptr[first], counts.indptr[last])
        targets = np.repeat(np.arange(first, last), np.diff(counts.indptr[first : last + 1]))
        games = counts.indices[entries]
        weights = weigh(targets, games, counts.data[entries]).astype(np.float32)
        weights[targets == games] = 0
        parts.append(largest_of_rows(targets - first, games, weights, last - first, per_game))
    found = ItemItemWeights.stacked(parts)
    by_source = as_matrix(found).T.tocsr()
    return ItemItemWeights(by_source.indptr.astype(np.int64), by_source.indices.astype(np.int32), by_source.data)


def largest_of_rows(
    rows: Int64Array, games: Int32Array, weights: Float32Array, n_rows: int, per_row: int
) -> ItemItemWeights:
    """Keep the largest absolute weights of each row that are not 0; of equal ones the first.

    Args:
        rows: int64 [n], ascending.
        games: int32 [n], ascending within a row.
        weights: float32 [n].
        n_rows: Number of rows.
        per_row: Number of weights to keep.
    """
    kept = np.flatnonzero(weights)
    lengths = np.bincount(rows[kept], minlength=n_rows)
    if lengths.max(initial=0) > per_row:
        owners, sizes, offsets = rows[kept], -np.abs(weights[kept]), offsets_from_lengths(lengths)
        bounds = np.zeros(n_rows, dtype=np.float32)
        for row in np.flatnonzero(lengths > per_row).tolist():  # faster than sorting all rows at once
            bounds[row] = np.partition(sizes[offsets[row] : offsets[row + 1]], per_row - 1)[per_row - 1]
        bounds_of = bounds[owners]
        larger = sizes < bounds_of
        equal = np.flatnonzero(sizes == bounds_of)
        before = offsets_from_lengths(np.bincount(owners[equal], minlength=n_rows))
        free = per_row - np.bincount(owners[larger], minlength=n_rows)
        larger[equal[np.arange(len(equal)) - before[owners[equal]] < free[owners[equal]]]] = True
        kept = kept[larger]
        lengths = np.minimum(lengths, per_row)
    return ItemItemWeights(offsets_from_lengths(lengths), games[kept].astype(np.int32), weights[kept])


def user_game_matrix(histories: Histories, n_games: int) -> csr_matrix:
    """Return users by games, float32 [B, n_games], 1 if a user has a game."""
    values = np.ones(len(histories.games), dtype=np.float32)
    return csr_matrix((values, histories.games, histories.offsets), shape=(len(histories), n_games))


def _within(costs: Int64Array, limit: int) -> Int64Array:
    """Return the rows of all users, or of as many as the limit on their total cost allows, drawn at random."""
    if costs.sum() <= limit:
        return np.arange(len(costs))
    drawn = np.random.default_rng(0).permutation(len(costs))
    return np.sort(drawn[np.cumsum(costs[drawn]) <= limit])


def _row_blocks(offsets: Int64Array) -> Iterator[tuple[int, int]]:
    """Yield the first and the last row (exclusive) of blocks with about `BLOCK_ENTRIES` entries each."""
    first, n_rows = 0, len(offsets) - 1
    while first < n_rows:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + BLOCK_ENTRIES, side="right")) - 1)
        yield first, min(last, n_rows)
        first = last

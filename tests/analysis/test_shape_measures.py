"""The form of a cloud: where the answer is known, and beside implementations of others."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.csgraph
import scipy.spatial
import skdim
from numpy.typing import NDArray
from scipy.stats import entropy as scipy_entropy
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from embevo.analysis.measures.alpha_req import alpha_req
from embevo.analysis.measures.isoscore import isoscore
from embevo.analysis.measures.participation import participation
from embevo.analysis.measures.rankme import rankme
from embevo.analysis.measures.spectra import Spectra
from embevo.analysis.measures.twonn import twonn
from support.clouds import stretched


def test_effective_rank_is_that_of_the_singular_values() -> None:
    assert rankme(np.ones(9)) == pytest.approx(9, abs=1e-3)
    assert rankme(np.array([2.0, 0, 0])) == pytest.approx(1, abs=1e-4)
    assert math.isnan(rankme(np.zeros(3)))
    points = stretched()
    shares = scipy.linalg.svdvals(points) / scipy.linalg.svdvals(points).sum()
    assert rankme(Spectra.of(points).singular) == pytest.approx(math.exp(scipy_entropy(shares)), rel=1e-4)
    # Roy and Vetterli's has no epsilon, that of Garrido et al. has.
    assert rankme(np.array([1.0, 1e-7])) > math.exp(scipy_entropy([1, 1e-7]))


@pytest.mark.parametrize("tokens", [9, 200, 4000])
def test_spectra_are_those_of_scikit_learn(tokens: int) -> None:
    points = stretched(tokens)
    spectra = Spectra.of(points)
    fitted = PCA().fit(points)
    count = min(tokens, 14)
    np.testing.assert_allclose(
        spectra.variance, fitted.explained_variance_ * (tokens - 1) / tokens, atol=1e-13
    )
    np.testing.assert_allclose(spectra.singular, scipy.linalg.svdvals(points)[:count], rtol=1e-9)
    assert not Spectra.of(np.full((50, 14), 0.3)).variance.any()


def test_participation_ratio_counts_directions() -> None:
    assert participation(np.array([2.0, 2, 2, 0])) == pytest.approx(3)
    points = stretched()
    covariance = np.cov(points.T)
    expected = np.trace(covariance) ** 2 / np.trace(covariance @ covariance)
    assert participation(Spectra.of(points).variance) == pytest.approx(expected)


def authors_isoscore(points: NDArray[np.float64]) -> float:
    """Algorithm 1 of Rudman et al., from scikit-learn's components and numpy's covariance on."""
    widths = np.cov(PCA(n_components=points.shape[1]).fit_transform(points).T).diagonal()
    dim = len(widths)
    defect = np.linalg.norm(widths * math.sqrt(dim) / np.linalg.norm(widths) - 1)
    defect /= math.sqrt(2 * (dim - math.sqrt(dim)))
    return float(((dim - defect**2 * (dim - math.sqrt(dim))) ** 2 - dim) / (dim * (dim - 1)))


def test_isoscore_is_that_of_the_algorithm() -> None:
    assert isoscore(np.full(5, 0.3), 5) == pytest.approx(1)
    assert isoscore(np.array([4.0]), 5) == pytest.approx(0, abs=1e-12)
    # The authors' theorem: of n directions of which k are as wide, (k - 1) / (n - 1) is the score.
    assert isoscore(np.array([1.0, 1, 1, 0, 0]), 5) == pytest.approx(2 / 4)
    points = stretched()
    assert isoscore(Spectra.of(points).variance, 14) == pytest.approx(authors_isoscore(points))


def test_alpha_is_the_exponent_of_a_power_law_and_the_authors_fit() -> None:
    assert alpha_req(np.arange(1, 65) ** -1.3) == pytest.approx(1.3)
    bent = np.concatenate([[1e3, 1e2, 50], np.arange(4, 51) ** -0.6, np.full(30, 1e-9)])
    assert alpha_req(bent) == pytest.approx(0.6)
    assert math.isnan(alpha_req(np.arange(1, 11) ** -1.0))
    rng = np.random.default_rng(5)
    noisy = np.arange(1, 65) ** -1.0 * np.exp(rng.normal(size=64) * 0.2)
    rng = np.random.default_rng(5)
    noisy = np.sort(noisy)[::-1]
    rank = np.arange(4, 51)
    fitted = LinearRegression().fit(np.log(rank)[:, None], np.log(noisy[3:50]), sample_weight=1 / rank)
    assert alpha_req(noisy) == pytest.approx(-fitted.coef_[0])


@pytest.mark.parametrize(("dimension", "dim"), [(2, 30), (5, 30), (1, 3)])
def test_intrinsic_dimension_is_known_and_that_of_scikit_dimension(dimension: int, dim: int) -> None:
    rng = np.random.default_rng(5)
    points = rng.uniform(size=(700, dimension)) @ rng.normal(size=(dimension, dim)) + 100
    # float32 values are exactly what both see.
    points = points.astype(np.float32).astype(np.float64) if dimension > 1 else points
    assert twonn(points) == pytest.approx(skdim.id.TwoNN().fit(points).dimension_, rel=1e-6)
    assert twonn(points) == pytest.approx(dimension, rel=0.25)
    # Those at one point are one: a black hole has no dimension.
    assert twonn(np.concatenate([points, points[:50]])) == pytest.approx(twonn(points), rel=1e-9)
    assert math.isnan(twonn(np.repeat(points[:5], 20, axis=0)))

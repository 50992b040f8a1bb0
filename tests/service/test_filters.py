"""The catalogue: its names, its fixed numbers, and that each finds what it says."""

import re
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import skimage.data
from scipy import ndimage

from service.arithmetic.convolution import Convolution, convolve
from service.arithmetic.filters import CATALOGUE, Filter

EDGES = {
    *("vertical-edge", "horizontal-edge", "sobel-x", "sobel-y", "prewitt-x", "prewitt-y"),
    *("scharr-x", "scharr-y", "roberts-x", "roberts-y", "laplacian-4", "laplacian-8"),
}
KEEP_BRIGHTNESS = {
    *("identity", "box-3", "box-5", "gaussian-3", "gaussian-5", "motion-blur"),
    *("sharpen", "unsharp-mask", "emboss"),
}


def matrix(name: str) -> np.ndarray:
    return np.array(CATALOGUE[name].matrix, dtype=float)


def apply(name: str, picture: np.ndarray) -> np.ndarray:
    asked = Convolution(matrix(name)[None, None], padding="same", padding_mode="symmetric")
    return convolve(picture[None].astype(float), asked)[0]


def test_every_promised_filter_is_there_under_a_kebab_case_name() -> None:
    assert set(CATALOGUE) == EDGES | KEEP_BRIGHTNESS
    for name, one in CATALOGUE.items():
        assert one.name == name
        assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", name)
        assert one.finds
        assert len({len(row) for row in one.matrix}) == 1


def test_the_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        CATALOGUE["mine"] = CATALOGUE["identity"]  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        CATALOGUE["identity"].matrix = ()  # type: ignore[misc]
    assert all(isinstance(row, tuple) for one in CATALOGUE.values() for row in one.matrix)
    assert isinstance(CATALOGUE["identity"], Filter)


def test_the_articles_two_filters_are_the_articles() -> None:
    assert CATALOGUE["vertical-edge"].matrix == ((1, 0, -1), (1, 0, -1), (1, 0, -1))
    assert CATALOGUE["horizontal-edge"].matrix == ((1, 1, 1), (0, 0, 0), (-1, -1, -1))


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("sobel-x", lambda picture: ndimage.sobel(picture, axis=1)),
        ("sobel-y", lambda picture: ndimage.sobel(picture, axis=0)),
        ("prewitt-x", lambda picture: ndimage.prewitt(picture, axis=1)),
        ("prewitt-y", lambda picture: ndimage.prewitt(picture, axis=0)),
        ("laplacian-4", ndimage.laplace),
        ("box-3", lambda picture: ndimage.uniform_filter(picture, 3)),
        ("box-5", lambda picture: ndimage.uniform_filter(picture, 5)),
    ],
)
def test_filters_that_scipy_has_are_scipys_sign_included(name: str, reference: object) -> None:
    picture = skimage.data.camera()[::8, ::8].astype(float)
    assert callable(reference)
    np.testing.assert_allclose(apply(name, picture), reference(picture), atol=1e-9)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_filter_keeps_an_even_picture_as_it_is_or_finds_nothing_in_it(name: str) -> None:
    total = 1 if name in KEEP_BRIGHTNESS else 0
    assert matrix(name).sum() == pytest.approx(total, abs=1e-15)


@pytest.mark.parametrize("family", ["sobel", "prewitt", "scharr"])
def test_x_answers_to_a_step_to_the_right_and_y_to_a_step_down(family: str) -> None:
    step = np.tile([0.0, 0, 0, 1, 1, 1], (6, 1))
    for name, picture, other in ((f"{family}-x", step, step.T), (f"{family}-y", step.T, step)):
        assert apply(name, picture).max() > 0
        assert apply(name, picture).min() == 0
        assert not apply(name, other).any()


def test_scharr_is_scharrs() -> None:
    assert CATALOGUE["scharr-x"].matrix == ((-3, 0, 3), (-10, 0, 10), (-3, 0, 3))
    np.testing.assert_array_equal(matrix("scharr-y"), matrix("scharr-x").T)


def test_roberts_answers_to_the_two_diagonals() -> None:
    rising = np.fliplr(np.triu(np.ones((6, 6))))  # its edge runs from bottom left to top right
    inside = (slice(1, -1), slice(1, -1))
    found = np.abs(apply("roberts-x", rising)[inside]).sum(), np.abs(apply("roberts-y", rising)[inside]).sum()
    assert found[0] > 0
    assert found[1] == 0
    assert np.abs(apply("roberts-y", np.fliplr(rising))[inside]).sum() > 0


@pytest.mark.parametrize(("name", "row"), [("gaussian-3", [1, 2, 1]), ("gaussian-5", [1, 4, 6, 4, 1])])
def test_gaussians_are_binomial(name: str, row: list[float]) -> None:
    np.testing.assert_allclose(matrix(name), np.outer(row, row) / sum(row) ** 2, rtol=1e-15)


def test_the_unsharp_mask_is_twice_the_picture_less_its_gaussian() -> None:
    twice = np.zeros((5, 5))
    twice[2, 2] = 2
    np.testing.assert_allclose(matrix("unsharp-mask"), twice - matrix("gaussian-5"), atol=1e-15)


def test_sharpening_is_the_picture_less_its_laplacian() -> None:
    np.testing.assert_array_equal(matrix("sharpen"), matrix("identity") - matrix("laplacian-4"))


def test_motion_blur_smears_along_its_diagonal_alone() -> None:
    dot = np.zeros((9, 9))
    dot[4, 4] = 5
    np.testing.assert_allclose(apply("motion-blur", dot)[2:7, 2:7], np.eye(5))


def test_embossing_lights_a_bright_square_from_the_top_left() -> None:
    square = np.zeros((9, 9))
    square[3:6, 3:6] = 1
    relief = apply("emboss", square) - square
    assert relief[2, 2] > 0 > relief[6, 6]

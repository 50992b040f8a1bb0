"""The recipes: the article's to the letter, and how the learning rate moves."""

from dataclasses import replace

import pytest
import torch

from training.networks import build
from training.optimisers import optimisers_for
from training.recipes import RECIPES, Recipe


def test_the_tutorial_recipe_is_the_articles_to_the_letter() -> None:
    assert RECIPES["tutorial"] == Recipe(
        name="tutorial",
        epochs=2,
        batch_size=4,
        learning_rate=0.001,
        momentum=0.9,
        schedule="constant",
        nesterov=False,
        weight_decay=0.0,
        label_smoothing=0.0,
        mirror=False,
        shift=0,
        report_every=2000,
    )


def test_the_tutorials_optimiser_is_the_articles() -> None:
    classifier = build("lenet", 10)
    (ours,) = optimisers_for(classifier, RECIPES["tutorial"])
    articles = torch.optim.SGD(classifier.parameters(), lr=0.001, momentum=0.9)
    assert ours.defaults == articles.defaults


def test_an_optimiser_has_what_its_recipe_says(recipe: Recipe) -> None:
    (optimiser,) = optimisers_for(build("lenet", 10), recipe)
    settings = optimiser.defaults
    assert (settings["lr"], settings["momentum"], settings["nesterov"], settings["weight_decay"]) == (
        recipe.learning_rate,
        recipe.momentum,
        recipe.nesterov,
        recipe.weight_decay,
    )


def test_recipes_are_found_by_their_own_names() -> None:
    assert {name: recipe.name for name, recipe in RECIPES.items()} == {
        "tutorial": "tutorial",
        "standard": "standard",
        "modern": "modern",
    }


def test_a_constant_rate_stays() -> None:
    assert {RECIPES["tutorial"].factor(step / 10) for step in range(11)} == {1.0}


def test_a_triangular_rate_rises_for_a_fifth_and_falls_to_zero(recipe: Recipe) -> None:
    recipe = replace(recipe, schedule="triangular")
    expected = {0: 0, 0.05: 0.25, 0.1: 0.5, 0.2: 1, 0.4: 0.75, 0.6: 0.5, 0.8: 0.25, 1: 0}
    assert {at: recipe.factor(at) for at in expected} == pytest.approx(expected)


def test_a_triangular_rate_peaks_at_the_recipes_rate(recipe: Recipe) -> None:
    factors = [recipe.factor(step / 1000) for step in range(1001)]
    assert max(factors) == recipe.factor(0.2) == 1
    assert min(factors) == 0


def test_pictures_grow_to_their_full_size_in_eighths(recipe: Recipe) -> None:
    growing = replace(recipe, first_size=0.625)
    sides = [growing.side(step / 100, 32) for step in range(101)]
    assert sides[0] == 20
    assert sorted(set(sides)) == [20, 24, 28, 32]
    assert sides == sorted(sides)
    assert sides[70:] == [32] * 31
    assert {growing.side(at, 224) % 28 for at in (0, 0.3, 0.6, 1)} == {0}


@pytest.mark.parametrize("size", [32, 33, 100, 224])
def test_pictures_have_their_full_size_where_nothing_else_is_said(recipe: Recipe, size: int) -> None:
    assert {recipe.side(step / 100, size) for step in range(101)} == {size}


def test_a_large_set_is_trained_on_as_the_recipe_says() -> None:
    assert RECIPES["modern"].fitted_to(48_000) == RECIPES["modern"]


@pytest.mark.parametrize("count", [2, 15, 60, 400, 2_000, 10_000])
def test_a_small_set_gets_enough_batches(count: int) -> None:
    modern = RECIPES["modern"]
    fitted = modern.fitted_to(count)
    batches = -(-count // fitted.batch_size) * fitted.epochs
    assert 1000 <= batches < 2100
    assert 16 <= fitted.batch_size <= modern.batch_size
    assert fitted.epochs >= modern.epochs


def test_a_recipe_that_does_not_ask_for_it_is_never_changed() -> None:
    assert RECIPES["standard"].fitted_to(10) == RECIPES["standard"]


def test_a_batch_size_that_was_asked_for_is_kept_for_a_small_set() -> None:
    modern = replace(RECIPES["modern"], batch_size=300, least_batch=300)
    assert modern.fitted_to(2_000).batch_size == 300
    assert modern.fitted_to(2_000).epochs > modern.epochs

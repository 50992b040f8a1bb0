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

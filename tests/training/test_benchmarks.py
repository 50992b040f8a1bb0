"""The benchmarks run: a table that nobody can repeat is worth nothing."""

import torch

from benchmarks.ablation import PATCHES, lenet_rows, resnet_rows
from benchmarks.speed import serving_variants, step, without_winograd


def test_every_variant_of_the_speed_table_runs() -> None:
    for variant in serving_variants().values():
        assert isinstance(logits := variant(), torch.Tensor)
        assert logits.shape == (1, 10)


def test_a_training_step_runs_with_and_without_winograd_filtering() -> None:
    run = step(side=20, batch=4)
    run()
    without_winograd(run)()


def test_every_row_of_the_ablation_changes_the_base() -> None:
    for rows in (lenet_rows(9), resnet_rows(9)):
        base = rows.pop("base")
        assert all(
            recipe != base or name in PATCHES or name == "weight averaging" for name, recipe in rows.items()
        )
    assert PATCHES.keys() <= rows.keys()

"""What turns gradients into steps: SGD, or Muon for the convolutions."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training.recipes import Recipe

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # fifth order: every singular value to about 1 in three rounds
ROUNDS = 3
HEAD_RATE, BIAS_RATE = 0.67, 0.053


def optimisers_for(network: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Build the recipe's optimisers; each group's `peak` is its learning rate where the schedule has one.

    Muon takes the filters; what is no filter (the last layer, biases) is left to SGD, with the
    rates that Jordan's speed runs found.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if recipe.optimiser == "sgd":
        return [
            torch.optim.SGD(
                [{"params": trained, "peak": recipe.learning_rate}],
                lr=recipe.learning_rate,
                momentum=recipe.momentum,
                nesterov=recipe.nesterov,
                weight_decay=recipe.weight_decay,
            )
        ]
    filters = [parameter for parameter in trained if parameter.dim() == 4]
    matrices = [parameter for parameter in trained if parameter.dim() == 2]
    biases = [parameter for parameter in trained if parameter.dim() == 1]
    groups = [{"params": matrices, "peak": HEAD_RATE}, {"params": biases, "peak": BIAS_RATE}]
    return [
        Muon([{"params": filters, "peak": recipe.learning_rate}], recipe.learning_rate, recipe.momentum),
        torch.optim.SGD(groups, lr=HEAD_RATE, momentum=0.85, nesterov=True, weight_decay=1e-3),
    ]


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose every step is made orthogonal, for filters K×C×F×F as K×CFF matrices.

    All directions of a layer then move at one speed, whatever the size of their gradients. Weights
    are brought back to the norm √K before a step: behind a batch normalisation only their direction
    counts. Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """

    def __init__(self, filters: Iterable[dict[str, Any]], lr: float, momentum: float) -> None:
        super().__init__(filters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move every filter; nobody steps this one with a closure."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                average = state["momentum_buffer"].mul_(group["momentum"]).add_(weight.grad)
                ahead = weight.grad.add(average, alpha=group["momentum"])
                weight.mul_(len(weight) ** 0.5 / weight.norm())
                weight.add_(orthogonal(ahead.flatten(1)).view_as(weight), alpha=-group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """Bring every singular value of a matrix near 1, by matrix products alone: float32 M×N -> float32 M×N."""
    a, b, c = NEWTON_SCHULZ
    wide = matrix.T if len(matrix) > len(matrix.T) else matrix
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(ROUNDS):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    result: Tensor = wide.T if len(matrix) > len(matrix.T) else wide
    return result

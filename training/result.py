"""Keep what a finished run's report shows, in its folder."""

import io
import json
from pathlib import Path

import torch
from torch import Tensor

from training.files import write_atomically
from training.networks import Classifier
from training.sets import Pictures

SHOWN_MISTAKES = 48


def save_result(
    path: Path, card: dict[str, object], logits: Tensor, test: Pictures, classifier: Classifier
) -> None:
    """Keep what the report shows: the card, the test part's logits, the surest mistakes, the filters."""
    truth = test.labels.cpu()
    confidence, predicted = logits.softmax(1).max(1)
    wrong = (predicted != truth).nonzero().flatten()
    surest = wrong[confidence[wrong].argsort(descending=True)[:SHOWN_MISTAKES]]
    size = classifier.size
    images = next(test.batches([surest])).cpu() if len(surest) else torch.empty(0, 3, size, size).byte()
    filters = next((p for name, p in classifier.named_parameters() if p.dim() == 4), None)
    file = io.BytesIO()
    torch.save(
        {
            "card": json.dumps(card),
            "logits": logits,
            "truth": truth,
            "mistakes": {
                "images": images,
                "truth": truth[surest],
                "predicted": predicted[surest],
                "confidence": confidence[surest],
            },
            "filters": None if filters is None else filters.detach().float().contiguous(),
        },
        file,
    )
    write_atomically(path, file.getvalue())

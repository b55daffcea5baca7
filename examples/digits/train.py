"""A network for the digits, in three structures; its metrics are reported after every epoch."""

import numpy as np
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

STRUCTURES = {"small": (16,), "medium": (64,), "large": (128, 64)}
EPOCHS = 30


def fit(context, size, learning_rate):
    """The trained model.

    Args:
        context: what the job gives: the channels `train` and `validation`, the seed, and `report`.
        size: `small`, `medium` or `large`.
        learning_rate: the first step length of Adam.
    """
    rows, labels = context.channels["train"].arrays()
    held_out, held_out_labels = context.channels["validation"].arrays()
    model = MLPClassifier(STRUCTURES[size], learning_rate_init=learning_rate, random_state=context.seed)
    classes = np.unique(labels)
    for epoch in range(1, EPOCHS + 1):
        model.partial_fit(rows, labels, classes=classes)
        context.report(
            {
                "train:loss": model.loss_,
                "validation:loss": log_loss(held_out_labels, model.predict_proba(held_out), labels=classes),
                "validation:accuracy": model.score(held_out, held_out_labels),
            },
            step=epoch,
        )
        if context.should_stop:
            break
    accuracy = model.score(held_out, held_out_labels)
    print(f"{size} network, learning rate {learning_rate:.2g}: validation accuracy {accuracy:.3f} after {epoch} epochs")
    return model

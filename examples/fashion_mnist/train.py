"""A network for Fashion-MNIST, in three structures; its metrics are reported after every epoch."""

import numpy as np
from sklearn.neural_network import MLPClassifier

STRUCTURES = {"small": (64,), "medium": (128,), "large": (256,)}
EPOCHS = 12


def fit(context, size, learning_rate):
    """The trained model.

    Args:
        context: what the job gives: the channels `train` and `validation`, the seed, and `report`.
        size: `small`, `medium` or `large`.
        learning_rate: the first step length of Adam.
    """
    rows, labels = context.channels["train"].arrays()
    held_out, held_out_labels = context.channels["validation"].arrays()
    model = MLPClassifier(STRUCTURES[size], learning_rate_init=learning_rate, batch_size=256, random_state=context.seed)
    classes = np.unique(labels)
    for epoch in range(1, EPOCHS + 1):
        model.partial_fit(rows, labels, classes=classes)
        context.report(
            {"train:loss": model.loss_, "validation:accuracy": model.score(held_out, held_out_labels)}, step=epoch
        )
        if context.should_stop:
            break
    accuracy = model.score(held_out, held_out_labels)
    print(f"{size} network, learning rate {learning_rate:.2g}: validation accuracy {accuracy:.3f} after {epoch} epochs")
    return model

"""The main job on real data: from a folder of pictures to a registered model.

    python demo.py [FOLDER]      FOLDER holds the pictures and the workspace; `demo` if not given

It may be killed at any moment and started again: it goes on where it was, and what is finished is not done again.
"""

import os
import sys
import time
from pathlib import Path

from make_images import write_images

import headway as hw


def run(folder):
    """The registered model, its evaluation and the page, and how long each took."""
    with hw.open(folder / ".headway") as ws:
        pictures = write_images(folder / "digits")
        manifest = ws.manifest("digits", pictures, split=hw.Split(validation=0.1, test=0.1, at_least=10))
        dataset = ws.process("arrays", manifest, hw.Function("prepare:to_array"), workers=2)
        study = ws.tune(
            "sizes",
            hw.Function("train:fit"),
            dataset,
            space={
                "size": hw.Choice("small", "medium", "large"),
                "learning_rate": hw.Float(1e-4, 1e-1, log=True),
            },
            objective=hw.Maximize("validation:accuracy"),
            trials=24,
            parallel=2,
        )
        best = study.best()
        evaluation = ws.evaluate(best.model, dataset)
        model = ws.register("digits", best.model, evaluation=evaluation, gate=hw.AtLeast("test:accuracy", 0.9)).promote(
            "champion"
        )
        picture = sorted((pictures / "7").iterdir())[0]
        answer = ws.model("digits@champion").predict([picture])[0]
        page = ws.page(evaluation)
        return summary(folder, study=study, best=best, evaluation=evaluation, model=model, answer=answer, page=page)


def summary(folder, *, study, best, evaluation, model, answer, page):
    """What was made and where to look, as lines."""
    headway = f"{_short(Path(sys.executable).with_name('headway'))} -w {_short(folder / '.headway')}"
    settings = ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                         for name, value in best.parameters.items())  # fmt: skip
    return [
        "",
        f"best of {study.summary()['ended']} trials: {settings}; validation accuracy {best.value:.3f}",
        f"registered {model.ref} as champion; test accuracy {evaluation.metric('test:accuracy'):.3f} (gate: 0.9)",
        f"loaded back, it says that {_short(answer.key)} is a {answer.label} ({answer.probability:.0%})",
        f"sample predictions: {_short(page)}",
        "",
        "look at it:",
        f"  {headway} manifest show digits",
        f"  {headway} jobs",
        f"  {headway} logs {study.id} --worker algo-2",
        f"  {headway} why {study.id}",
        f"  {headway} model show digits@champion",
    ]


def _short(path):
    return os.path.relpath(path)


if __name__ == "__main__":
    began = time.monotonic()
    try:
        lines = run(Path(sys.argv[1] if len(sys.argv) > 1 else "demo").absolute())
    except KeyboardInterrupt:
        sys.exit("stopped; run it again: it goes on where it was")
    print("\n".join(lines))
    print(f"\ntook {time.monotonic() - began:.1f} s; run it again: what is finished is not done again")

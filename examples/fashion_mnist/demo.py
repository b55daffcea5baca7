"""The main job on the 70,000 pictures of Fashion-MNIST: from the original files to a registered model.

    python demo.py FOLDER_WITH_THE_GZ_FILES [FOLDER]      FOLDER holds pictures and workspace; `fashion` if not given

On Debian: apt-get install dataset-fashion-mnist, then the first folder is /usr/share/datasets/fashion-mnist.
It may be killed at any moment and started again: it goes on where it was, and what is finished is not done again.
"""

import os
import sys
import time
from pathlib import Path

from unpack import write_images

import headway as hw


def run(source, folder):
    """The registered model and its evaluation."""
    pictures = write_images(source, folder / "pictures")
    with hw.open(folder / ".headway") as ws:
        manifest = ws.manifest("fashion", pictures, split=hw.Split(validation=0.1, test=0.1, at_least=100))
        dataset = ws.process("arrays", manifest, hw.Function("prepare:to_array"), workers=2)
        study = ws.tune(
            "sizes",
            hw.Function("train:fit"),
            dataset,
            space={
                "size": hw.Choice("small", "medium", "large"),
                "learning_rate": hw.Float(3e-4, 1e-2, log=True),
            },
            objective=hw.Maximize("validation:accuracy"),
            trials=8,
            parallel=2,
        )
        best = study.best()
        evaluation = ws.evaluate(best.model, dataset)
        gate = hw.AtLeast("test:accuracy", 0.87)
        return ws.register("fashion", best.model, evaluation=evaluation, gate=gate).promote("champion"), evaluation


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        raise SystemExit("usage: python demo.py FOLDER_WITH_THE_GZ_FILES [FOLDER]")
    began = time.monotonic()
    place = Path(sys.argv[2] if len(sys.argv) > 2 else "fashion").absolute()
    model, scores = run(sys.argv[1], place)
    print(f"registered {model.ref} as champion; test accuracy {scores.metric('test:accuracy'):.4f} (gate: 0.87)")
    print(f"took {time.monotonic() - began:.0f} s; look at it: headway -w {os.path.relpath(place / '.headway')} jobs")

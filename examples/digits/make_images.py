"""Writes the 1,797 real handwritten digits that scikit-learn ships as PNG files in class folders.

    python make_images.py digits        ->  digits/0/0000.png, digits/1/0001.png, ...

The scans are 8x8 pixels of 17 shades, from the UCI "Optical recognition of handwritten digits" set. A pixel of value v
becomes the grey level 15 v, so that nothing is lost; `prepare.py` divides it out again.
"""

import fcntl
import os
import sys
from pathlib import Path

SHADE = 15


def write_images(folder):
    """The folder with all pictures: written by this call, or by an earlier or parallel one.

    It appears whole or not at all: the pictures are collected in a folder beside it, which gets its name at the end. A
    call that was killed is gone on with; of two at once one waits.
    """
    folder = Path(folder)
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            partial = folder.with_name(f".{folder.name}.partial")
            _fill(partial)
            os.rename(partial, folder)
    return folder


def _fill(folder):
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{number:04}.png"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = folder.with_name(f"{folder.name}.png")
        Image.fromarray((pixels * SHADE).astype("uint8")).save(unfinished, format="PNG")
        os.replace(unfinished, path)


if __name__ == "__main__":
    print(write_images(sys.argv[1] if len(sys.argv) > 1 else "digits"))

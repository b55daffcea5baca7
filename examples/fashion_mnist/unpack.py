"""Writes the 70,000 pictures of Fashion-MNIST as PNG files in class folders, from the four original .gz files.

    python unpack.py /usr/share/datasets/fashion-mnist pictures   ->  pictures/bag/train-00023.png, ...

The files are those of https://github.com/zalandoresearch/fashion-mnist; on Debian the package dataset-fashion-mnist
brings them: apt-get install dataset-fashion-mnist.
"""

import fcntl
import gzip
import os
import struct
import sys
from pathlib import Path

LABELS = ["t-shirt-top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]
PARTS = {"train": 60_000, "t10k": 10_000}


def write_images(source, folder):
    """The folder with all pictures: written by this call, or by an earlier or parallel one.

    It appears whole or not at all, as in `examples/digits/make_images.py`.
    """
    source, folder = Path(source), Path(folder)
    if folder.exists():
        return folder
    data = {part: read_part(source, part, count) for part, count in PARTS.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            partial = folder.with_name(f".{folder.name}.partial")
            for part, (pictures, labels) in data.items():
                _fill(partial, part, pictures, labels)
            os.rename(partial, folder)
    return folder


def read_part(source, part, count):
    """The pictures of one part as an array of (count, 28, 28) bytes, and their label codes."""
    import numpy as np

    pictures = _read_idx(source / f"{part}-images-idx3-ubyte.gz", (count, 28, 28))
    labels = _read_idx(source / f"{part}-labels-idx1-ubyte.gz", (count,))
    return np.frombuffer(pictures, np.uint8).reshape(count, 28, 28), labels


def _read_idx(path, shape):
    """The bytes of an IDX file of unsigned bytes, after its header was checked."""
    if not path.exists():
        raise SystemExit(
            f"{path} is not there. Name the folder that holds the four original .gz files of Fashion-MNIST; "
            "on Debian: apt-get install dataset-fashion-mnist, then /usr/share/datasets/fashion-mnist"
        )
    with gzip.open(path) as file:
        content = file.read()
    size = 4 + 4 * len(shape)
    expected = (0x0800 + len(shape), *shape)
    found = struct.unpack(f">{1 + len(shape)}I", content[:size])
    if found != expected:
        raise SystemExit(f"{path} is no IDX file of {shape} bytes: its header is {found}, expected {expected}")
    return content[size:]


def _fill(folder, part, pictures, labels):
    from PIL import Image

    for label in LABELS:
        (folder / label).mkdir(parents=True, exist_ok=True)
    for number, (pixels, code) in enumerate(zip(pictures, labels, strict=True)):
        path = folder / LABELS[code] / f"{part}-{number:05}.png"
        if path.exists():
            continue
        unfinished = folder.with_name(f"{folder.name}.png")
        Image.fromarray(pixels).save(unfinished, format="PNG", compress_level=1)
        os.replace(unfinished, path)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python unpack.py FOLDER_WITH_THE_GZ_FILES FOLDER_TO_WRITE")
    print(write_images(sys.argv[1], sys.argv[2]))

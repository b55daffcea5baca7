"""Small pictures and the transform that every side of `benchmarks.processing` applies to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write_pictures(folder: Path, num: int) -> None:
    """`num` JPEG files of 100 x 100 pixels, about 3 KB each, in ten class folders."""
    generator = np.random.default_rng(0)
    for number in range(num):
        path = folder / f"class-{number % 10}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 255, (12, 12, 3), dtype=np.uint8))
        coarse.resize((100, 100)).save(path, quality=85)


def decode(path: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A picture as 3 x 32 x 32 numbers between 0 and 1."""
    with Image.open(path) as picture:
        small = picture.resize((32, 32), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / 255


def transform(item: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The same, of an item of a manifest."""
    return decode(item.path)

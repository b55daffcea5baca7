"""Fashion-MNIST from the original files to a registered model; see `examples/fashion_mnist/unpack.py`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "fashion_mnist" / "demo.py"
SOURCE = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.xdist_group("demo")
@pytest.mark.skipif(not SOURCE.is_dir(), reason=f"the four .gz files are not in {SOURCE}; FASHION_MNIST names them")
def test_the_best_model_reaches_87_percent_on_the_test_channel(tmp_path, evidence):
    command = [sys.executable, DEMO, SOURCE, "fashion"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    accuracy = float(re.search(r"test accuracy ([0-9.]+)", done.stdout)[1])
    took = re.search(r"took ([0-9]+) s", done.stdout)[1]
    evidence(f"Fashion-MNIST with scikit-learn: test accuracy {accuracy:.4f} in {took} s")
    assert accuracy >= 0.87

"""The desk on which process jobs are done by hand, in this process."""

from pathlib import Path

import pytest
from process_desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)

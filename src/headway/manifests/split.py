"""How the files of a manifest are divided over train, validation and test: the settings, as a record.

In: numbers and patterns from the user. Out: `Split`, `RuleRecord`, `CHANNELS`. The arithmetic is in
`headway.manifests.quotas` and `headway.manifests.assign`; nothing here imports numpy.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from headway.records import Record

CHANNELS = ("train", "validation", "test")
"""The channels, in the order of their codes 0, 1, 2."""


class Split(Record):
    """The shares of the channels and what must stay together.

    Args:
        validation: share of each class that goes to the validation channel, 0 or more, below 1.
        test: share of each class that goes to the test channel; train gets the rest.
        at_least: smallest number of files of each class in each channel that has a share. Channels are filled up to it
            from the others where the class is large enough; where it is not, `ShortfallError`. 0: no minimum.
        by: what is hashed to choose a file's channel: its `content` (so that a renamed file keeps its channel) or its
            `key`. Copies of one content stay together either way.
        group: pattern on the key, `"{group}_*"` or a regular expression with `(?P<group>...)`: files of one group stay
            in one channel, whatever their labels (all images of one patient).
        conflicts: what happens to one content under two labels: `error`; `exclude`: such files are reported and are in
            no channel; `keep`: they stay, all copies in one channel.
        seed: another number gives another division. Files that a version before has placed stay where they are.
    """

    validation: float = 0.1
    test: float = 0.1
    at_least: int = 1
    by: Literal["content", "key"] = "content"
    group: str | None = None
    conflicts: Literal["error", "exclude", "keep"] = "error"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            share: object = getattr(self, name)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
                raise ValueError(f"Split({name}=) is a share of 0 or more and below 1, for instance 0.1; got {share!r}")
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation={self.validation!r} and test={self.test!r} leave nothing for train: "
                "choose shares whose sum is below 1"
            )
        if not _is_whole(self.at_least):
            raise ValueError(f"Split(at_least=) is a number of files, 0 or more; got {self.at_least!r}")
        if self.by not in ("content", "key"):
            raise ValueError(f"Split(by=) is 'content' or 'key' (for groups use group=); got {self.by!r}")
        if self.conflicts not in ("error", "exclude", "keep"):
            raise ValueError(f"Split(conflicts=) is 'error', 'exclude' or 'keep'; got {self.conflicts!r}")
        if not _is_whole(self.seed) or self.seed >= 2**63:
            raise ValueError(f"Split(seed=) is a whole number of 0 or more, below 2**63; got {self.seed!r}")

    def shares(self) -> tuple[Fraction, Fraction, Fraction]:
        """The shares of train, validation and test as exact fractions of what was written (0.1 is one tenth)."""
        validation, test = Fraction(repr(self.validation)), Fraction(repr(self.test))
        return 1 - validation - test, validation, test


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class RuleRecord(Record):
    """A rule as it is stored.

    Args:
        kind: `pattern`, `regex` or `table`.
        text: the pattern or the expression; of a table its digest.
    """

    kind: str
    text: str

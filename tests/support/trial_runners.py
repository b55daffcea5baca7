"""Trial runners for the tests of studies: they really run nothing, but keep the contract of `TrialRunner`."""

import random

from headway.tuning.loop import TrialReport


class FastRunner:
    """Ends trials at once, in an order that a seed decides.

    Args:
        outcome: (number, attempt, parameters) -> a dict of final metrics, or a text: the error it fails with.
        curve: (number, parameters) -> values of `acc` reported before the end.
    """

    def __init__(self, outcome, *, seed=0, curve=None):
        self.outcome = outcome
        self.curve = curve or (lambda number, parameters: [])
        self.draw = random.Random(seed)
        self.live = {}
        self.started = []
        self.stopped = []
        self.most = 0

    def start(self, number, attempt, parameters):
        assert number not in self.live
        values = list(self.curve(number, parameters))
        self.live[number] = [attempt, parameters, values, False]
        self.started.append((number, attempt))
        self.most = max(self.most, len(self.live))

    def stop(self, number, reason):
        self.stopped.append(number)
        self.live[number][3] = True

    def reports(self, timeout_s):
        found = []
        for _ in range(self.draw.randint(1, 3)):
            if not self.live:
                break
            number = self.draw.choice(sorted(self.live))
            attempt, parameters, values, stopping = self.live[number]
            if stopping:
                del self.live[number]
                found.append(TrialReport(kind="failed", number=number, attempt=attempt, error="stopped"))
            elif values:
                report = TrialReport(kind="reported", number=number, attempt=attempt, values={"acc": values.pop(0)})
                return [*found, report]
            else:
                del self.live[number]
                found.append(self.end(number, attempt, self.outcome(number, attempt, parameters)))
        return found

    def end(self, number, attempt, outcome):
        if isinstance(outcome, str):
            return TrialReport(kind="failed", number=number, attempt=attempt, error=outcome)
        return TrialReport(
            kind="ended", number=number, attempt=attempt, values=outcome, artifact=f"trials/{number}/model", wall_s=1.0
        )


class Log:
    """An event log in memory that keeps what it is given and can refuse to go on."""

    def __init__(self, events=()):
        self.events = list(events)
        self.batches = 0

    def __call__(self, events):
        self.batches += 1
        self.events += [(kind, dict(body)) for kind, body in events]

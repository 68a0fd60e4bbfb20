"""Lines of results, and their sum."""

import json


class Results:
    def __init__(self):
        self.steps = self.differ = 0

    def add(self, suite, sentence, seconds, difference):
        """One line for a step, and the difference below it."""
        self.steps += 1
        self.differ += bool(difference)
        print("%s: %-64s product %5.1f s, Envoy %5.1f s  %s" % (
            suite, sentence, *seconds, "differ" if difference else "equal"), flush=True)
        for line in difference:
            print("    " + line, flush=True)

    def sum(self, version):
        return "interop: istiod=%s steps=%d equal=%d differ=%d" % (
            version, self.steps, self.steps - self.differ, self.differ)


class Suite:
    """Steps of one pair."""

    def __init__(self, name, pair, results):
        self.name, self.pair, self.results = name, pair, results

    def step(self, sentence, change, arrived, **how):
        """Makes the change and compares when it has arrived."""
        change()
        seconds, difference = self.pair.settle(arrived, **how)
        self.results.add(self.name, sentence, seconds, difference)


def text(objects):
    return json.dumps(objects, sort_keys=True)


def has(*parts):
    """Whether all parts are in the objects."""
    return lambda objects: all(part in text(objects) for part in parts)


def lacks(*parts):
    """Whether none of the parts is."""
    return lambda objects: not any(part in text(objects) for part in parts)


def anything(_):
    """For a step that shows in that the objects change."""
    return True

"""Change archives for some time, and see that none does what no archive may.

    python -m tests.fuzz --seconds 120 [--seed N] [--atheris]

A case that fails is written to tests/fuzz/found/, where it stays as a test. Cases that make the code answer in a new
way are begun with again. With --atheris the guide is coverage instead, if that package is there.
"""

import argparse
import hashlib
import random
import re
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.judge import Judge, bound_memory
from tests.fuzz.mutations import Maker, seeds

FOUND = Path(__file__).parent / "found"


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--atheris", action="store_true", help="guide by coverage; needs the package atheris")
    chosen = parser.parse_args()
    return (by_coverage if chosen.atheris else by_answers)(chosen.seconds, chosen.seed)


def by_answers(seconds, seed):
    bound_memory()
    maker = Maker(seed)
    answers, cases = Counter(), 0
    print(f"seed {seed}", flush=True)
    ends = time.monotonic() + seconds
    with Judge() as judge:
        waiting = list(seeds())
        while waiting or time.monotonic() < ends:
            data, declared = waiting.pop() if waiting else maker.case()
            answer = tried(judge, data, declared)
            if answer is None:
                return 1
            cases += 1
            if not answers[answer]:
                maker.keep(data, declared)
            answers[answer] += 1
    unpacked = sum(count for answer, count in answers.items() if answer.startswith(("file", "directory")))
    print(f"{cases} cases, {unpacked} of them unpacked, {len(answers)} answers; nothing found")
    return 0


def tried(judge, data, declared):
    """The answer without its numbers and names; ``None`` when it failed, which is told and kept."""
    try:
        return re.sub(r"'.*?'|b\".*?\"|\d+", "…", judge(data, declared))[:200]
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        traceback.print_exc()
        name = FOUND / f"{hashlib.sha256(data).hexdigest()[:12]}.{declared or 'any'}"
        name.write_bytes(data)
        print(f"kept as {name}")
        return None


def by_coverage(seconds, seed):
    import atheris

    with atheris.instrument_imports(include=["lifecycle.archive"]):
        for module in [name for name in sys.modules if name.startswith("lifecycle.archive")]:
            del sys.modules[module]
        import lifecycle.archive.extract

    from tests.fuzz import judge as judging

    judging.unpack, judging.Limits = lifecycle.archive.extract.unpack, lifecycle.archive.extract.Limits
    judging.limits_module = sys.modules["lifecycle.archive.limits"]
    judge = Judge()

    def one(data):
        if data and tried(judge, data[1:], ["tar", "zip", None, "none"][data[0] & 3]) is None:
            raise RuntimeError("found")

    corpus = judge.home.parent / f"fuzz-corpus-{seed}"
    corpus.mkdir(exist_ok=True)
    for number, (data, declared) in enumerate(seeds()):
        (corpus / str(number)).write_bytes(bytes([["tar", "zip"].index(declared)]) + data)
    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}", f"-seed={seed}", "-max_len=65536", str(corpus)], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())

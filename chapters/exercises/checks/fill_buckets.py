"""The check of fill_buckets."""

from __future__ import annotations

from distrinews.course import exercises

# By hand. The first: 4 and 3 fit under 8, 9 and the rest get one bucket each.
CASES = (
    ([1, 9, 3, 4], 8, [[3, 2], [1], [0]]),
    ([2, 2, 2], 100, [[2, 1, 0]]),
    ([5, 4, 3, 2], 6, [[3, 2], [1], [0]]),
    ([4, 4, 4, 4], 8, [[3, 2], [1, 0]]),
)


def check(harness: exercises.Harness) -> None:
    for num_bytes, cap, want in CASES:
        got, trace = harness.run(list(num_bytes), cap)
        harness.at_most(
            "collectives", trace.calls(), limit=0, why="Every rank knows the model."
        )
        sent = sorted(n for bucket in got for n in bucket)
        harness.reject_if(
            sent != list(range(len(num_bytes))),
            f"gradients {sent} are sent, of {len(num_bytes)}: send each one once.",
        )
        full = [b for b in got if len(b) > 1 and sum(num_bytes[n] for n in b) > cap]
        harness.reject_if(bool(full), f"bucket {full} is larger than the cap, {cap}.")
        harness.reject_if(
            len(num_bytes) > 1 and 0 in got[0] and len(got) > 1,
            "the first bucket waits for parameter 0, whose gradient comes last: "
            "nothing is sent during backward.",
        )
        harness.expect(f"buckets of {num_bytes} under {cap}", got, want=want)


EXERCISE = exercises.Exercise(check=check)

"""Skyward Passback: the story of one night.

All day long, Otus' services publish what changed: an assessment, a grade, a teacher who joined
the group. ``intake`` polls Kafka, ``events`` reads each record's bytes, and ``store.recording``
writes the newest version of each subject together with the offsets, in one transaction. What
cannot be read goes to quarantine, with its place in the log and a reason; intake goes on.

Each district has a cutoff, a wall-clock time in its own zone (``cutoff``). When that instant has
passed without a finished run, ``flush.schedule`` sees the district due, whether that was a second
or a week ago, and takes its lease: holder, expiry on the database's clock, and an epoch that
fences every later write of the run.

``flush.run`` waits, bounded, until the store holds what Kafka held, reads Skyward's grading
periods and categories, and marks what they changed. ``flush.night`` walks everything undecided,
line item by line item, and asks ``rules``: pure functions, one a rule of the admin guide, in the
order in which the guide asks; the first that fails is the reason. Work that was not submitted by
its due date becomes a zero here, from the clock, and too many zeros trip a breaker first.

``flush.sending`` has a line item acknowledged before its results go, many side by side, through
``skyward``, which holds the token, keeps the pace the server bears and says when to stop;
``oneroster`` knows the bodies and what an answer means. Ids are made from Otus' ids alone, so
the same PUT again is harmless, and a crash costs repeats, never a double. What was on its way when
a run ended is asked of Skyward first by the next one (``flush.adopting``).

``store.settling`` writes what became of it in batches, where the revision and the lease's epoch
are still the ones that were read, with the run's counts in the same transaction. The run closes
with one report: the log line, the metrics, the commands and the stored row are made from it. What
was kept back is looked at again when something that its decision used changes.
"""

__version__ = "0.1.0"

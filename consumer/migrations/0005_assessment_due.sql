-- Whether a night has anything to look at is asked by what was due lately. Settling changes neither
-- column, so it writes nothing here; and of 25 rows that are written one is an assessment's.
CREATE INDEX assessment_due ON assessment (district_id, coalesce(due_at, assigned_at));

-- purged_at: retention deleted this assessment's grades and the list of its students. Who had
-- a grade is not known any more, so no zero is ever made of it.
ALTER TABLE assessment ADD COLUMN purged_at timestamptz;

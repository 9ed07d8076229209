-- The line items, each [assessment_id, class_id], of which Skyward may hold what the store does not
-- know: a run writes them here before it writes to Skyward, and the next one asks Skyward.
ALTER TABLE lease ADD COLUMN in_doubt jsonb NOT NULL DEFAULT '[]';

-- Line items whose Otus title grew to 50 characters or more after they were posted.
ALTER TABLE flush_run ADD COLUMN titles_kept integer NOT NULL DEFAULT 0;

-- Every key begins with district_id, so that the same schema distributes on Citus; the small
-- tables without one (schema_migration, intake_offset) are reference tables there.

CREATE TABLE district (
    district_id      text PRIMARY KEY,
    revision         integer NOT NULL CHECK (revision > 0),
    settings         jsonb NOT NULL,
    sealed_key       bytea NOT NULL,
    sealed_secret    bytea NOT NULL,
    first_applied_at timestamptz NOT NULL,
    applied_at       timestamptz NOT NULL,
    paused_at        timestamptz,
    paused_until     timestamptz,
    pause_reason     text,
    -- The cutoff whose run is the next to finish, and when that run may be tried (again).
    next_service_date date NOT NULL,
    next_cutoff_at   timestamptz NOT NULL,
    start_at         timestamptz NOT NULL,
    attempts         integer NOT NULL DEFAULT 0,
    -- The settings revision that the last run decided with.
    decided_revision integer NOT NULL DEFAULT 0,
    CHECK (paused_until IS NULL OR paused_at IS NOT NULL)
);
CREATE INDEX district_start ON district (start_at);

CREATE TABLE settings_revision (
    district_id text NOT NULL,
    revision    integer NOT NULL,
    settings    jsonb NOT NULL,
    applied_at  timestamptz NOT NULL,
    PRIMARY KEY (district_id, revision)
);

CREATE TABLE audit (
    district_id text NOT NULL,
    id          bigint GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL,
    action      text NOT NULL,
    detail      jsonb NOT NULL,
    PRIMARY KEY (district_id, id)
);

-- Every version is kept: whether someone is a member, and since when, follows from them all,
-- in whatever order they came.
CREATE TABLE membership (
    district_id   text NOT NULL,
    teacher_id    text NOT NULL,
    version       bigint NOT NULL,
    member        boolean NOT NULL,
    changed_at    timestamptz NOT NULL,
    log_partition integer NOT NULL,
    log_offset    bigint NOT NULL,
    PRIMARY KEY (district_id, teacher_id, version)
);

-- The newest that Otus says of one assessment in one class.
-- decide_from: the cutoff from which on all its grades are to be decided; NULL: nothing changed
-- since they were. wake_at: when the clock alone makes them worth deciding again.
-- revision: rises with each change that intake records; what a run read must still be there
-- when it settles.
CREATE TABLE assessment (
    district_id            text NOT NULL,
    assessment_id          text NOT NULL,
    class_id               text NOT NULL,
    version                bigint NOT NULL,
    revision               integer NOT NULL DEFAULT 1,
    title                  text NOT NULL,
    type                   text NOT NULL,
    format                 text NOT NULL,
    grading_scale          text NOT NULL CHECK (grading_scale IN ('points', 'standards')),
    points_possible        numeric,
    include_in_final_grade boolean NOT NULL,
    assigner_id            text NOT NULL,
    assigner_in_sis        boolean NOT NULL,
    assigned_at            timestamptz NOT NULL,
    due_at                 timestamptz,
    status                 text NOT NULL CHECK (status IN ('active', 'unassigned', 'deleted')),
    class_sourced_id       text NOT NULL,
    school_sourced_id      text NOT NULL,
    assignees              jsonb NOT NULL CHECK (jsonb_typeof(assignees) = 'object'),
    changed_at             timestamptz NOT NULL,
    log_partition          integer NOT NULL,
    log_offset             bigint NOT NULL,
    settled_version        bigint,
    decide_from            timestamptz,
    wake_at                timestamptz,
    PRIMARY KEY (district_id, assessment_id, class_id)
) WITH (fillfactor = 80);
CREATE INDEX assessment_undecided ON assessment (district_id, assessment_id, class_id)
    WHERE decide_from IS NOT NULL;
CREATE INDEX assessment_wake ON assessment (district_id, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX assessment_assigner ON assessment (district_id, assigner_id);

-- What Skyward acknowledged of one line item, or refused.
CREATE TABLE line_item (
    district_id   text NOT NULL,
    assessment_id text NOT NULL,
    class_id      text NOT NULL,
    sourced_id    text NOT NULL,
    -- The acknowledged body as text, field by field; NULL: never acknowledged.
    posted        jsonb,
    otus_type     text,
    posted_at     timestamptz,
    -- The fingerprint of the body that Skyward refused, and with which reason.
    refused       text,
    reason        text,
    detail        text,
    PRIMARY KEY (district_id, assessment_id, class_id),
    CHECK ((posted IS NULL) = (posted_at IS NULL)),
    CHECK ((refused IS NULL) = (reason IS NULL))
) WITH (fillfactor = 80);

-- One student's grade: the newest that Otus says (version NULL: no event came, the clock asked),
-- what was decided, and what Skyward acknowledged last.
CREATE TABLE grade (
    district_id     text NOT NULL,
    assessment_id   text NOT NULL,
    class_id        text NOT NULL,
    student_id      text NOT NULL,
    version         bigint,
    revision        integer NOT NULL DEFAULT 1,
    score           numeric,
    completion      text NOT NULL DEFAULT 'not_started'
        CHECK (completion IN ('not_started', 'in_progress', 'turned_in', 'graded')),
    submission      text
        CHECK (submission IN ('on_time', 'late', 'missing', 'excused', 'excluded')),
    changed_at      timestamptz,
    log_partition   integer,
    log_offset      bigint,
    state           text NOT NULL DEFAULT 'pending',
    kind            text,
    reason          text,
    detail          text,
    decided_at      timestamptz,
    settled_version bigint,
    pending_since   timestamptz,
    decide_from     timestamptz,
    sent_score      numeric,
    sent_status     text,
    sent_origin     text CHECK (sent_origin IN ('teacher', 'clock')),
    sent_at         timestamptz,
    allocated_id    text,
    refused         text,
    zero_ruling     text CHECK (zero_ruling IN ('released', 'discarded')),
    PRIMARY KEY (district_id, assessment_id, class_id, student_id),
    -- The state machine: pending -> posted | rejected | skipped, and back with what is new.
    CHECK (CASE state
        WHEN 'pending'  THEN kind IS NULL OR kind IN ('hold', 'defer')
        WHEN 'posted'   THEN kind IS NOT DISTINCT FROM 'post'
        WHEN 'rejected' THEN kind IS NOT DISTINCT FROM 'reject'
        WHEN 'skipped'  THEN kind IS NOT DISTINCT FROM 'skip'
        ELSE false END),
    CHECK ((kind IS NULL OR kind = 'post') = (reason IS NULL)),
    CHECK ((state = 'pending') = (pending_since IS NOT NULL)),
    CHECK (state <> 'pending' OR kind IS NOT DISTINCT FROM 'hold' OR decide_from IS NOT NULL),
    CHECK (state <> 'posted' OR sent_at IS NOT NULL),
    CHECK ((sent_at IS NULL) = (sent_status IS NULL)),
    CHECK ((sent_at IS NULL) = (sent_origin IS NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05,
        autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX grade_undecided ON grade (district_id, assessment_id, class_id, student_id)
    WHERE decide_from IS NOT NULL;
CREATE INDEX grade_held ON grade (district_id, reason) WHERE kind = 'hold';
-- Few rows: what a change in Skyward, which no event tells us of, may let pass.
CREATE INDEX grade_stopped_by_skyward ON grade (district_id, assessment_id, class_id)
    WHERE reason IN ('grading_period_closed', 'grading_period_unknown',
        'category_not_district_level', 'category_inactive', 'forbidden');

-- What was sent when, and what Skyward answered; student_id '' is the line item itself.
CREATE TABLE sent (
    district_id   text NOT NULL,
    assessment_id text NOT NULL,
    class_id      text NOT NULL,
    student_id    text NOT NULL,
    at            timestamptz NOT NULL,
    run_id        bigint NOT NULL,
    score         numeric,
    score_status  text,
    origin        text,
    outcome       text NOT NULL CHECK (outcome IN ('post', 'reject', 'defer')),
    reason        text,
    PRIMARY KEY (district_id, assessment_id, class_id, student_id, at)
) PARTITION BY RANGE (at);
CREATE TABLE sent_default PARTITION OF sent DEFAULT;

CREATE TABLE flush_run (
    district_id         text NOT NULL,
    run_id              bigint GENERATED ALWAYS AS IDENTITY,
    service_date        date NOT NULL,
    kind                text NOT NULL CHECK (kind IN ('nightly', 'manual')),
    cutoff_at           timestamptz NOT NULL,
    started_at          timestamptz NOT NULL,
    finished_at         timestamptz,
    state               text NOT NULL CHECK (state IN ('running', 'done', 'deferred')),
    settings_revision   integer NOT NULL,
    epoch               bigint NOT NULL,
    stopped_by          text,
    zeros_held          boolean,
    line_items_posted   integer NOT NULL DEFAULT 0,
    line_items_rejected integer NOT NULL DEFAULT 0,
    posted              integer NOT NULL DEFAULT 0,
    rejected            integer NOT NULL DEFAULT 0,
    skipped             integer NOT NULL DEFAULT 0,
    held                integer NOT NULL DEFAULT 0,
    deferred            integer NOT NULL DEFAULT 0,
    zeros_posted        integer NOT NULL DEFAULT 0,
    reasons             jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (district_id, run_id),
    CHECK ((state = 'running') = (finished_at IS NULL))
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX flush_run_nightly ON flush_run (district_id, service_date)
    WHERE kind = 'nightly';

-- The right to flush a district: expiry on the database's clock, the epoch fences every write.
CREATE TABLE lease (
    district_id text PRIMARY KEY,
    holder      text NOT NULL,
    epoch       bigint NOT NULL,
    expires_at  timestamptz NOT NULL
) WITH (fillfactor = 50);

-- What Skyward said of itself when it was last read.
CREATE TABLE skyward_district (
    district_id text PRIMARY KEY,
    sessions    jsonb NOT NULL,
    categories  jsonb NOT NULL,
    read_at     timestamptz NOT NULL
);
CREATE TABLE skyward_class (
    district_id      text NOT NULL,
    class_sourced_id text NOT NULL,
    terms            text[] NOT NULL,
    -- NULL: the server does not answer for classes.
    categories       text[],
    read_at          timestamptz NOT NULL,
    PRIMARY KEY (district_id, class_sourced_id)
);

CREATE TABLE quarantine (
    district_id text NOT NULL,
    id          bigint GENERATED ALWAYS AS IDENTITY,
    topic       text NOT NULL,
    partition   integer NOT NULL,
    log_offset  bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    reason      text NOT NULL,
    detail      text NOT NULL,
    -- The record's key where it is text; a zero waits while its key stands here.
    subject     text,
    key         bytea,
    value       bytea,
    headers     jsonb NOT NULL,
    PRIMARY KEY (district_id, id),
    UNIQUE (district_id, topic, partition, log_offset)
);
-- By hash: a key may be longer than what fits a B-tree beside its district.
CREATE INDEX quarantine_subject ON quarantine USING hash (subject);

CREATE TABLE intake_offset (
    topic       text NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

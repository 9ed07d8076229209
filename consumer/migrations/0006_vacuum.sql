-- What a night leaves dead is as much as the night, however large the store is: a share of the store,
-- as Postgres goes by, would let the dead entries of ten nights stand in the indexes of what waits.
-- With 180 school nights a year kept, a night is one row in 180 or more: one in a hundred is every
-- other night.
ALTER TABLE grade SET (autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE assessment SET (autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_analyze_scale_factor = 0.02);

-- Of a target's answer beside its beginning: how many bytes its body had, where that is known, and a
-- few of its headers, a line each.
ALTER TABLE attempts ADD COLUMN size bigint;
ALTER TABLE attempts ADD COLUMN headers text NOT NULL DEFAULT '';

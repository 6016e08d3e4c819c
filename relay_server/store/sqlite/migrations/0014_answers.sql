-- Of a target's answer beside its beginning: how many bytes its body had, where that is known, and a
-- few of its headers, a line each.
ALTER TABLE attempts ADD COLUMN size INTEGER;
ALTER TABLE attempts ADD COLUMN headers TEXT NOT NULL DEFAULT '';

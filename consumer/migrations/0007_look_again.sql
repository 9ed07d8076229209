-- When Skyward is to be asked once more of the items in doubt, of which it was asked already: a write
-- that was on its way when its run ended may arrive after the one that came after it.
ALTER TABLE lease ADD COLUMN look_again_at timestamptz;

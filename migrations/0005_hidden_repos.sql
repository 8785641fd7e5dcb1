-- The planner must not know `hidden_repos` to be empty or tiny: it would then walk it once for each row that a count(*) of a
-- view sees, which takes three times as long as the table alone. So there are always some rows, of repos that cannot be.

insert into hidden_repos select -n from generate_series(1, 500) n;

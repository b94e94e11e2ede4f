"""Jobs of many requests, each one plan → workers → finish or undo. The only folder that runs workers."""

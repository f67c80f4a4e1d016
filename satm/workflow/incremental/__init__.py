"""From a stored set to a class-incremental stream with the set as the memory."""

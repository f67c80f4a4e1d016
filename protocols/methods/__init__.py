"""One file a class-incremental protocol, and the table of all of them."""

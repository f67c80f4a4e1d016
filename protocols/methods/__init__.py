"""The class-incremental protocols, one file each. `protocols.base.PROTOCOLS` reads these files to find them."""

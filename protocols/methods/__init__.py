"""The class-incremental protocols, one file each. `protocols.base.PROTOCOLS` finds them by their files."""

"""What the methods that choose real images share."""

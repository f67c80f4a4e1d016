"""Code that the methods that choose real images share."""

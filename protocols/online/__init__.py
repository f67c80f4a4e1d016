"""Online protocols: each real image is seen once, and the memory is updated while the images arrive."""

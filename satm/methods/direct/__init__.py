"""What gradient and distribution matching share."""

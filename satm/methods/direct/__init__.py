"""Code that gradient matching (dc, dsa) and distribution matching (dm) share."""

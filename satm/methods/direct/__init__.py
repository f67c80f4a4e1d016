"""Code that gradient matching (dc, dsa, dcc, dsac) and distribution matching (dm) share."""

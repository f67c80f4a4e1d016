"""Rows in; tables, plots and pages out. No database access."""

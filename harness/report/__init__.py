"""What was measured: runs, tables, comparisons, the page."""

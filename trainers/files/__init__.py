"""Files that appear whole or not at all, and torch files that are read without executing anything."""

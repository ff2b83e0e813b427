"""Runs and budgets from the command line: what is said of them, and how they stand."""

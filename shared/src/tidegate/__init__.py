"""Tidegate's library: the records, the consumer runtime and what every service shares."""

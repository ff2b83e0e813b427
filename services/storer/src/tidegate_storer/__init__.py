"""The storer: pages, solves and dead letters to ClickHouse."""

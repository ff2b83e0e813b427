"""The budget's ledger: its records, the state machine that reads them, and snapshots of it."""

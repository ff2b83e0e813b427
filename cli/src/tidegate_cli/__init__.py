"""The ``tidegate`` command and the embedded stack."""

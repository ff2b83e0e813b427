"""One job: where it is, and what is known of its way there."""

"""The solver: captcha-requests to captcha-solutions through solving services."""

"""The monitor: what all services tell, added up over windows; alerts and the live page."""

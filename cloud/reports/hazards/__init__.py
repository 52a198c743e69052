"""What the front line reports: hazards of places and things, from report to handled."""

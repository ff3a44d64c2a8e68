"""Object storage: what lies at a URL, asked for one object at a time, and patiently."""

"""What runs would look like if nothing of what is predicted were the case."""

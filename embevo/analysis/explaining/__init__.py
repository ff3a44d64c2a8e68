"""Why a token moved and why it stopped: its updates taken apart, and what its dtype kept of them."""

"""The page in which a run is replayed: what it is sent, the server that sends it, and the page itself."""

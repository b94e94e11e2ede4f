"""The seam between a request and the road it takes: every client that can carry one, and what comes back."""

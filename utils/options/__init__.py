"""Every flag of the two entry points."""

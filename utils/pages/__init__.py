"""Pages: one HTML file each, without any request."""

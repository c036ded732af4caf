"""S3 object → build: started once per push and project, and written down."""

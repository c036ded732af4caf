"""S3 object to build: started once per push and project, and recorded."""

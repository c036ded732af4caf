"""Stages of one push: prepare (in parallel), dispatch (in queue order), the values between them."""

"""Rounds over all repositories, which find the pushes whose events never came."""

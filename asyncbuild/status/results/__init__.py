"""Results of builds as the status shows them."""

"""AWS access: sessions and clients, accounts, classes of error codes, ECS task protection."""

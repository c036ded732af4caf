"""AWS: sessions and clients, accounts, what each error code means, ECS task protection."""

"""What the outside world must be able to do for placet, as Protocols with their obligations."""

"""How the commands' results look to people. What senders wrote is made harmless first."""

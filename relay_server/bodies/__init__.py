"""What people see of a webhook's body: as a tree, and beside another one. Pure."""

"""What is reached over HTTP: thin handlers around the store and the hub."""

"""What the commands do, on the API and the settings; how it is shown is not their matter."""

"""Measures Relay beside a direct connection and an OpenSSH reverse tunnel."""

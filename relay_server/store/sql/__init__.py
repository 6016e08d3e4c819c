"""The parts of a store that keeps its tables in a database, whichever dialect that speaks."""

// Holds the target until its first suite.

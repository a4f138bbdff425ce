"""Speed, always as a ratio: both sides are measured in the same run, on the same machine, in turn."""

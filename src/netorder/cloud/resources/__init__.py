"""The kinds of resources: for each its fields, how they are compared, and the requests about it."""

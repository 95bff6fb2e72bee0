"""The audit log: the organisers' actions, in a hash chain that reveals every changed row."""
